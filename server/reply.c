/*
 * reply.c - replies to bytes. Knows no commands and no sockets.
 */
#include "reply.h"

#include "numbers.h"

#include <assert.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define PINS_KEEP 64

void reply_init(reply *r) {
    *r = (reply){.protocol = 2};
}

static void release_pins(reply *r, size_t from) {
    for (size_t i = from; i < r->pins_count; i++) {
        r->pinned_bytes -= r->pins[i].value.size;
        toon_value_release(&r->pins[i].value);
    }
    r->pins_count = from;
}

void reply_free(reply *r) {
    int protocol = r->protocol;

    release_pins(r, r->pins_sent);
    free(r->pins);
    free(r->data);
    reply_init(r);
    r->protocol = protocol;
}

void reply_clear(reply *r) {
    release_pins(r, r->pins_sent);
    r->pins_count = 0;
    r->size = 0;
    r->data_sent = r->pins_sent = r->pin_bytes_sent = r->pinned_bytes = 0;
    if (r->pins_capacity > PINS_KEEP) {
        free(r->pins);
        r->pins = NULL;
        r->pins_capacity = 0;
    }
    if (r->capacity > REPLY_KEEP_BYTES) {
        free(r->data);
        r->data = NULL;
        r->capacity = 0;
    }
}

static bool grow(reply *r, size_t bytes) {
    size_t capacity = r->capacity ? r->capacity : 512;
    char *data = NULL;

    while (!r->failed && capacity - r->size < bytes) {
        if (capacity > SIZE_MAX / 2)
            r->failed = true;
        capacity *= 2;
    }
    if (!r->failed)
        data = realloc(r->data, capacity);
    if (!data) {
        r->failed = true;
        return false;
    }
    r->data = data;
    r->capacity = capacity;
    return true;
}

/* Room for so many more bytes; NULL when there is none. */
static inline char *room(reply *r, size_t bytes) {
    if (r->capacity - r->size < bytes && !grow(r, bytes))
        return NULL;
    return r->data + r->size;
}

static void put(reply *r, const void *bytes, size_t size) {
    char *to = room(r, size);

    if (!to || size == 0)
        return;
    memcpy(to, bytes, size);
    r->size += size;
}

void reply_raw(reply *r, toon_slice bytes) {
    put(r, bytes.data, bytes.size);
}

/* Text between a type byte and a line end, cleaned of line ends. */
static void put_line(reply *r, char type, const char *text, size_t size) {
    char *to = room(r, size + 3);

    if (!to)
        return;
    *to++ = type;
    for (size_t i = 0; i < size; i++)
        *to++ = (char)(text[i] == '\r' || text[i] == '\n' ? ' ' : text[i]);
    *to++ = '\r';
    *to = '\n';
    r->size += size + 3;
}

static void put_count(reply *r, char type, int64_t count) {
    char *to = room(r, NUMBER_TEXT_MAX + 3);
    size_t size = 0;

    if (!to)
        return;
    to[0] = type;
    size = 1 + number_format(to + 1, count);
    to[size++] = '\r';
    to[size++] = '\n';
    r->size += size;
}

void reply_simple(reply *r, const char *text) {
    put_line(r, '+', text, strlen(text));
}

void reply_error(reply *r, const char *text) {
    r->errors++;
    put_line(r, '-', text, strlen(text));
}

void reply_errorf(reply *r, const char *format, ...) {
    char text[1024];
    va_list args;
    int size = 0;

    va_start(args, format);
    size = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    size = size < (int)sizeof text ? size : (int)sizeof text - 1;
    while (size > 0 && (text[size - 1] == '\r' || text[size - 1] == '\n'))
        text[--size] = '\0';
    reply_error(r, text);
}

void reply_integer(reply *r, int64_t value) {
    put_count(r, ':', value);
}

void reply_bulk(reply *r, toon_slice bytes) {
    char *to = NULL;
    size_t size = 0;

    if (bytes.size > SIZE_MAX - NUMBER_TEXT_MAX - 5) {
        r->failed = true;
        return;
    }
    to = room(r, bytes.size + NUMBER_TEXT_MAX + 5);
    if (!to)
        return;
    to[0] = '$';
    size = 1 + number_format_unsigned(to + 1, bytes.size);
    to[size++] = '\r';
    to[size++] = '\n';
    if (bytes.size > 0)
        memcpy(to + size, bytes.data, bytes.size);
    size += bytes.size;
    to[size++] = '\r';
    to[size++] = '\n';
    r->size += size;
}

void reply_text(reply *r, const char *text) {
    reply_bulk(r, toon_str(text));
}

void reply_bulk_number(reply *r, int64_t value) {
    char text[NUMBER_TEXT_MAX];

    reply_bulk(r, toon_bytes(text, number_format(text, value)));
}

void reply_pin_here(reply *r, toon_value *value) {
    if (r->pins_count == r->pins_capacity) {
        size_t capacity = r->pins_capacity ? r->pins_capacity * 2 : 4;
        reply_pin *pins = realloc(r->pins, capacity * sizeof *pins);

        if (!pins) {
            r->failed = true;
            toon_value_release(value);
            return;
        }
        r->pins = pins;
        r->pins_capacity = capacity;
    }
    r->pins[r->pins_count++] = (reply_pin){r->size, *value};
    r->pinned_bytes += value->size;
    *value = (toon_value){0};
}

void reply_value(reply *r, toon_value *value) {
    if (value->size < REPLY_PIN_MIN) {
        reply_bulk(r, toon_bytes(value->data, value->size));
        toon_value_release(value);
        return;
    }
    put_count(r, '$', (int64_t)value->size);
    reply_pin_here(r, value);
    put(r, "\r\n", 2);
}

void reply_null(reply *r) {
    if (r->protocol == 3)
        put(r, "_\r\n", 3);
    else
        put(r, "$-1\r\n", 5);
}

void reply_null_array(reply *r) {
    if (r->protocol == 3)
        put(r, "_\r\n", 3);
    else
        put(r, "*-1\r\n", 5);
}

void reply_array(reply *r, size_t count) {
    put_count(r, '*', (int64_t)count);
}

void reply_map(reply *r, size_t pairs) {
    if (r->protocol == 3)
        put_count(r, '%', (int64_t)pairs);
    else
        put_count(r, '*', (int64_t)(2 * pairs));
}

void reply_set(reply *r, size_t count) {
    put_count(r, r->protocol == 3 ? '~' : '*', (int64_t)count);
}

void reply_double(reply *r, double value) {
    char text[64];

    if (isinf(value))
        (void)snprintf(text, sizeof text, value > 0 ? "inf" : "-inf");
    else if (isnan(value))
        (void)snprintf(text, sizeof text, "nan");
    else
        (void)snprintf(text, sizeof text, "%.17g", value);
    if (r->protocol == 3)
        put_line(r, ',', text, strlen(text));
    else
        reply_text(r, text);
}

void reply_bool(reply *r, bool value) {
    if (r->protocol == 3)
        put(r, value ? "#t\r\n" : "#f\r\n", 4);
    else
        reply_integer(r, value ? 1 : 0);
}

void reply_verbatim(reply *r, const char *kind, toon_slice text) {
    if (r->protocol != 3) {
        reply_bulk(r, text);
        return;
    }
    put_count(r, '=', (int64_t)(text.size + 4));
    put(r, kind, 3);
    put(r, ":", 1);
    put(r, text.data, text.size);
    put(r, "\r\n", 2);
}

void reply_rewind(reply *r, reply_mark mark) {
    release_pins(r, mark.pins_count);
    r->size = mark.size;
}

/* Rotates the last `size` bytes to where `mark` is. */
static void move_tail(reply *r, reply_mark mark, size_t size) {
    char *at = r->data + mark.size;
    size_t between = r->size - size - mark.size;
    char *copy = NULL;

    if (r->failed || between == 0)
        return;
    assert(size > 0);
    copy = malloc(size);
    if (!copy) {
        r->failed = true;
        return;
    }
    memcpy(copy, at + between, size);
    memmove(at + size, at, between);
    memcpy(at, copy, size);
    free(copy);
    for (size_t i = mark.pins_count; i < r->pins_count; i++)
        r->pins[i].at += size;
}

void reply_insert_count(reply *r, reply_mark mark, char type, size_t count) {
    size_t before = r->size;

    if (type == '%')
        reply_map(r, count);
    else if (type == '~')
        reply_set(r, count);
    else
        reply_array(r, count);
    move_tail(r, mark, r->size - before);
}

void reply_insert_bulk(reply *r, reply_mark mark, toon_slice bytes) {
    size_t before = r->size;

    reply_bulk(r, bytes);
    move_tail(r, mark, r->size - before);
}

/* The iovec's pointer is not const; writev(2) leaves the bytes alone. */
static struct iovec as_iovec(const char *data, size_t size) {
    union {
        const char *from;
        void *to;
    } base = {data};

    return (struct iovec){base.to, size};
}

size_t reply_iovecs(const reply *r, struct iovec *to, size_t max) {
    size_t count = 0, pin_at = r->pins_sent, data_at = r->data_sent;
    size_t pin_from = r->pin_bytes_sent;

    while (count < max) {
        size_t until = pin_at < r->pins_count ? r->pins[pin_at].at : r->size;

        if (data_at < until)
            to[count++] = as_iovec(r->data + data_at, until - data_at);
        data_at = until;
        if (pin_at == r->pins_count || count == max)
            break;
        to[count++] = as_iovec(r->pins[pin_at].value.data + pin_from,
                               r->pins[pin_at].value.size - pin_from);
        pin_from = 0;
        pin_at++;
    }
    return count;
}

void reply_sent(reply *r, size_t bytes) {
    while (bytes > 0) {
        bool pinned = r->pins_sent < r->pins_count &&
                      r->pins[r->pins_sent].at == r->data_sent;
        reply_pin *front = pinned ? &r->pins[r->pins_sent] : NULL;
        size_t until =
            r->pins_sent < r->pins_count ? r->pins[r->pins_sent].at : r->size;
        size_t left = pinned ? front->value.size - r->pin_bytes_sent
                             : until - r->data_sent;
        size_t step = bytes < left ? bytes : left;

        assert(left > 0);
        bytes -= step;
        if (!pinned) {
            r->data_sent += step;
            continue;
        }
        r->pin_bytes_sent += step;
        if (step == left) {
            r->pinned_bytes -= front->value.size;
            r->pin_bytes_sent = 0;
            toon_value_release(&front->value);
            r->pins_sent++;
        }
    }
}
