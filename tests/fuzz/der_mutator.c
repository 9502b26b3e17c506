/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/*
 * libFuzzer's changes, made inside a DER structure: most of the changes to its bytes break a length
 * near the beginning, and get no further than the parser of the outermost type. A target whose
 * input has something before the DER says so by DER_OFFSET.
 */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#ifndef DER_OFFSET
#define DER_OFFSET 0
#endif

#define NODES_MAX   4096
#define DEPTH_MAX   64
#define HEADER_MAX  12
#define GROWTH      256
#define REPEAT_MAX  80

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed);

/** One tag, length and content. */
typedef struct {
    size_t start, content, end;
    size_t tags;                    /* bytes of the tag */
    int parent;                     /* -1: outermost */
} node_t;

typedef struct {
    const uint8_t *data;
    size_t size;
    node_t *nodes;
    int count;
} tree_t;

typedef struct {
    uint8_t *data;
    size_t length;
} piece_t;

static uint32_t next_number(uint32_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state;
}

/** @return 0 if there is no element with a definite length that ends before a limit */
static int read_header(const uint8_t *data, size_t at, size_t limit, node_t *node)
{
    size_t length, bytes;

    node->start = at;
    if (at >= limit) {
        return 0;
    }
    if ((data[at++] & 0x1f) == 0x1f) {
        while (at < limit && data[at] & 0x80) {
            ++at;
        }
        ++at;
    }
    node->tags = at - node->start;
    if (at >= limit || node->tags > 6) {
        return 0;
    }
    length = data[at++];
    if (length & 0x80) {
        bytes = length & 0x7f;
        if (bytes == 0 || bytes > 4 || bytes > limit - at) {
            return 0;
        }
        for (length = 0; bytes; --bytes) {
            length = length << 8 | data[at++];
        }
    }
    if (length > limit - at) {
        return 0;
    }
    node->content = at;
    node->end = at + length;
    return 1;
}

/** @return 1 if elements fill a range to its end */
static int is_filled(const uint8_t *data, size_t at, size_t end)
{
    node_t node;

    if (at == end) {
        return 0;
    }
    while (at < end) {
        if (!read_header(data, at, end, &node)) {
            return 0;
        }
        at = node.end;
    }
    return 1;
}

static void collect(tree_t *tree, size_t at, size_t end, int parent, int depth)
{
    node_t node;

    while (at < end && tree->count < NODES_MAX && read_header(tree->data, at, end, &node)) {
        uint8_t tag = tree->data[node.start];
        int index = tree->count++;

        node.parent = parent;
        tree->nodes[index] = node;
        if (depth < DEPTH_MAX) {
            /* an OCTET STRING or BIT STRING may hold another structure */
            if (tag & 0x20 || (tag == 0x04 && is_filled(tree->data, node.content, node.end))) {
                collect(tree, node.content, node.end, index, depth + 1);
            }
            else if (tag == 0x03 && node.end > node.content && tree->data[node.content] == 0
                     && is_filled(tree->data, node.content + 1, node.end)) {
                collect(tree, node.content + 1, node.end, index, depth + 1);
            }
        }
        at = node.end;
    }
}

static size_t write_length(uint8_t *to, size_t length)
{
    size_t bytes = 0, i;

    if (length < 0x80) {
        *to = (uint8_t)length;
        return 1;
    }
    for (i = length; i; i >>= 8) {
        ++bytes;
    }
    to[0] = (uint8_t)(0x80 | bytes);
    for (i = 0; i < bytes; ++i) {
        to[1 + i] = (uint8_t)(length >> 8 * (bytes - 1 - i));
    }
    return 1 + bytes;
}

/** One element anew, in a buffer of its own, with a content. */
static piece_t wrap(const tree_t *tree, const node_t *node, const uint8_t *content, size_t length)
{
    piece_t piece = { malloc(HEADER_MAX + length), 0 };

    if (!piece.data) {
        abort();
    }
    memcpy(piece.data, tree->data + node->start, node->tags);
    piece.length = node->tags + write_length(piece.data + node->tags, length);
    if (length) {
        memcpy(piece.data + piece.length, content, length);
    }
    piece.length += length;
    return piece;
}

/** Part of the input with something else instead of one range. */
static piece_t splice(const tree_t *tree, size_t start, size_t end, const node_t *out, piece_t in)
{
    size_t before = out->start - start, behind = end - out->end;
    piece_t piece = { malloc(before + in.length + behind + 1), before + in.length + behind };

    if (!piece.data) {
        abort();
    }
    memcpy(piece.data, tree->data + start, before);
    if (in.length) {
        memcpy(piece.data + before, in.data, in.length);
    }
    memcpy(piece.data + before + in.length, tree->data + out->end, behind);
    return piece;
}

/** An element, repeated. @param times 0: nothing */
static piece_t repeat(const tree_t *tree, const node_t *node, size_t times)
{
    size_t length = node->end - node->start, i;
    piece_t piece = { malloc(length * times + 1), length * times };

    if (!piece.data) {
        abort();
    }
    for (i = 0; i < times; ++i) {
        memcpy(piece.data + i * length, tree->data + node->start, length);
    }
    return piece;
}

static piece_t change_content(const tree_t *tree, const node_t *node)
{
    size_t length = node->end - node->content;
    uint8_t *content = malloc(length + GROWTH);
    piece_t piece;

    if (!content) {
        abort();
    }
    memcpy(content, tree->data + node->content, length);
    length = LLVMFuzzerMutate(content, length, length + GROWTH);
    piece = wrap(tree, node, content, length);
    free(content);
    return piece;
}

static piece_t change(const tree_t *tree, const node_t *node, uint32_t *state)
{
    static const uint8_t tags[] = { 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x0a, 0x0c, 0x13, 0x14,
                                    0x16, 0x17, 0x18, 0x1c, 0x1e, 0x30, 0x31, 0x80, 0x81, 0x82,
                                    0xa0, 0xa1, 0xa2, 0xa3 };
    piece_t piece;

    switch (next_number(state) % 12) {
    case 0:
        return repeat(tree, node, 0);
    case 1:
        return repeat(tree, node, 2);
    case 2:
        return repeat(tree, node, 2 + next_number(state) % REPEAT_MAX);
    case 3:
        return wrap(tree, node, NULL, 0);
    case 4:
        piece = repeat(tree, node, 1);
        piece.data[0] = tags[next_number(state) % sizeof(tags)];
        return piece;
    case 5:
    case 6:
        return repeat(tree, &tree->nodes[next_number(state) % (uint32_t)tree->count], 1);
    default:
        return change_content(tree, node);
    }
}

/** Changes one element and the lengths of all that it is in. */
static piece_t change_tree(const tree_t *tree, uint32_t *state)
{
    const node_t *node = &tree->nodes[next_number(state) % (uint32_t)tree->count];
    piece_t piece = change(tree, node, state), wider;

    while (node->parent >= 0) {
        const node_t *parent = &tree->nodes[node->parent];

        wider = splice(tree, parent->content, parent->end, node, piece);
        free(piece.data);
        piece = wrap(tree, parent, wider.data, wider.length);
        free(wider.data);
        node = parent;
    }
    wider = splice(tree, 0, tree->size, node, piece);
    free(piece.data);
    return wider;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed)
{
    uint32_t state = seed | 1;
    tree_t tree = { data, size, NULL, 0 };
    piece_t changed;

    if (next_number(&state) % 4 == 0) {
        return LLVMFuzzerMutate(data, size, max_size);
    }
    tree.nodes = malloc(NODES_MAX * sizeof(node_t));
    if (!tree.nodes) {
        abort();
    }
    collect(&tree, DER_OFFSET, size, -1, 0);
    if (tree.count == 0) {
        size = LLVMFuzzerMutate(data, size, max_size);
    }
    else {
        changed = change_tree(&tree, &state);
        size = changed.length < max_size ? changed.length : max_size;
        memcpy(data, changed.data, size);
        free(changed.data);
    }
    free(tree.nodes);
    return size;
}
