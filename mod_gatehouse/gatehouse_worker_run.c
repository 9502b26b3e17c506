/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* From a fork of httpd's parent to a worker's program. */

#include "config.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#ifdef HAVE_SYS_PRCTL_H
#include <sys/prctl.h>
#endif

#include <apr_strings.h>

#include "gatehouse_worker_run.h"
#include "text.h"
#include "worker.h"

/** Highest descriptor that is closed where the system cannot close all. */
#define DESCRIPTOR_MAX 4096

/** Exit statuses as those of a shell. */
#define EXIT_NOT_RUN 126
#define EXIT_NOT_FOUND 127

extern char **environ;

/* In the build tree and in packages that put all in one folder, programs are beside the modules. */
const char *gatehouse_worker_program(const char *program, apr_pool_t *p)
{
    Dl_info info;
    const char *path;

    if (dladdr((void *)&gatehouse_worker_program, &info) && info.dli_fname
        && strrchr(info.dli_fname, '/')) {
        path = apr_pstrcat(p, apr_pstrmemdup(p, info.dli_fname, (apr_size_t)
                                             (strrchr(info.dli_fname, '/') + 1 - info.dli_fname)),
                           program, NULL);
        if (access(path, X_OK) == 0) {
            return path;
        }
    }
    path = apr_pstrcat(p, GATEHOUSE_PROGRAMS "/", program, NULL);
    return access(path, X_OK) == 0 ? path : NULL;
}

static int make_file(void)
{
#ifdef HAVE_MEMFD_CREATE
    return memfd_create("gatehouse-worker", MFD_CLOEXEC);
#else
    apr_pool_t *p;
    const char *name;
    int descriptor = -1;

    apr_pool_create(&p, NULL);
    name = gh_random_id(p);
    if (name) {
        name = apr_pstrcat(p, "/gatehouse-", name, NULL);
        descriptor = shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
        if (descriptor >= 0) {
            shm_unlink(name);
        }
    }
    apr_pool_destroy(p);
    return descriptor;
#endif
}

int gatehouse_worker_file(const char *text)
{
    size_t length = strlen(text), done = 0;
    int descriptor = make_file();

    while (descriptor >= 0 && done < length) {
        ssize_t count = write(descriptor, text + done, length - done);

        if (count < 0 && errno != EINTR) {
            int error = errno;

            close(descriptor);
            errno = error;
            return -1;
        }
        done += count > 0 ? (size_t)count : 0;
    }
    return descriptor;
}

int gatehouse_worker_folder(const char *path, uid_t uid, gid_t gid)
{
    struct stat info;
    int error = mkdir(path, 0700) && errno != EEXIST ? errno : 0;
    int descriptor = error ? -1
        : open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

    if (!error && (descriptor < 0 || fstat(descriptor, &info))) {
        error = errno;
    }
    /* nobody else's is made theirs */
    if (!error && geteuid() == 0 && info.st_uid != uid) {
        error = info.st_uid != 0 ? EPERM : fchown(descriptor, uid, gid) ? errno : 0;
    }
    if (descriptor >= 0) {
        close(descriptor);
    }
    return error;
}

static void reset_signals(void)
{
    sigset_t none;
    int number;

    for (number = 1; number < NSIG; ++number) {
        if (number != SIGKILL && number != SIGSTOP) {
            signal(number, SIG_DFL);
        }
    }
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

static void close_from(int first)
{
#ifdef HAVE_CLOSEFROM
    closefrom(first);
#else
    while (first < DESCRIPTOR_MAX) {
        close(first++);
    }
#endif
}

/* Puts descriptors where the worker looks for them and closes all others. They are moved out of the
 * way first, since one may stand where another has to go. */
static int arrange(const gatehouse_run_t *run)
{
    int first = GH_WORKER_DESCRIPTORS + run->count;
    int input = run->input >= 0 ? run->input : open("/dev/null", O_RDONLY);
    int configuration = fcntl(run->configuration, F_DUPFD, first);
    int moved[GATEHOUSE_WORKER_DESCRIPTORS_MAX];
    int i;

    if (run->count > GATEHOUSE_WORKER_DESCRIPTORS_MAX) {
        return -1;
    }
    input = fcntl(input, F_DUPFD, first);
    for (i = 0; i < run->count; ++i) {
        moved[i] = fcntl(run->descriptors[i], F_DUPFD, first);
        if (moved[i] < 0) {
            return -1;
        }
    }
    if (input < 0 || configuration < 0 || dup2(input, STDIN_FILENO) < 0
        || dup2(STDERR_FILENO, STDOUT_FILENO) < 0
        || dup2(configuration, GH_WORKER_DESCRIPTOR) < 0) {
        return -1;
    }
    for (i = 0; i < run->count; ++i) {
        if (dup2(moved[i], GH_WORKER_DESCRIPTORS + i) < 0) {
            return -1;
        }
    }
    close_from(first);
    return 0;
}

void gatehouse_worker_run(const gatehouse_run_t *run)
{
    pid_t parent = getppid();
    char *const arguments[] = { (char *)run->path, NULL };

#ifdef HAVE_SYS_PRCTL_H
    prctl(PR_SET_PDEATHSIG, (long)SIGTERM, 0L, 0L, 0L);
#endif
    reset_signals();
    if (getppid() != parent || arrange(run)) {
        _exit(EXIT_NOT_RUN);
    }
    /* the pause of one that keeps dying; a signal ends it */
    if (run->delay > 0) {
        sleep((unsigned int)run->delay);
    }
    execve(run->path, arguments, environ);
    _exit(errno == ENOENT ? EXIT_NOT_FOUND : EXIT_NOT_RUN);
}
