/*
 * tst_text.c - bytes and times as text for people and programs.
 *
 * Knows UTF-8, JSON, base64, ISO 8601; must never know the store's calls.
 */
#include "tst.h"

#include <inttypes.h>
#include <time.h>

/* Bytes of the well-formed UTF-8 character at `at`, 0 if there is none
 * (Unicode, table 3-7). */
static size_t utf8_size(const unsigned char *at, size_t left) {
    static const struct {
        unsigned char first_low, first_high, second_low, second_high, size;
    } forms[] = {
        {0x00, 0x7f, 0x00, 0x00, 1}, {0xc2, 0xdf, 0x80, 0xbf, 2},
        {0xe0, 0xe0, 0xa0, 0xbf, 3}, {0xe1, 0xec, 0x80, 0xbf, 3},
        {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3},
        {0xf0, 0xf0, 0x90, 0xbf, 4}, {0xf1, 0xf3, 0x80, 0xbf, 4},
        {0xf4, 0xf4, 0x80, 0x8f, 4},
    };

    size_t form = 0, forms_count = sizeof forms / sizeof forms[0];
    while (form < forms_count &&
           (at[0] < forms[form].first_low || at[0] > forms[form].first_high)) {
        form++;
    }
    if (form == forms_count || forms[form].size > left) {
        return 0;
    }
    size_t size = forms[form].size;
    if (size > 1 &&
        (at[1] < forms[form].second_low || at[1] > forms[form].second_high)) {
        return 0;
    }
    for (size_t i = 2; i < size; i++) {
        if (at[i] < 0x80 || at[i] > 0xbf) {
            return 0;
        }
    }
    return size;
}

static bool is_utf8(toon_slice bytes) {
    const unsigned char *at = (const unsigned char *)bytes.data;
    for (size_t i = 0, size; i < bytes.size; i += size) {
        size = utf8_size(at + i, bytes.size - i);
        if (size == 0) {
            return false;
        }
    }
    return true;
}

static void put_json_text(FILE *out, toon_slice text) {
    static const char *const escapes[0x20] = {
        ['\b'] = "\\b", ['\f'] = "\\f", ['\n'] = "\\n",
        ['\r'] = "\\r", ['\t'] = "\\t",
    };
    size_t plain = 0; /* from here on nothing was written yet */
    for (size_t i = 0; i < text.size; i++) {
        unsigned char byte = (unsigned char)text.data[i];
        if (byte >= 0x20 && byte != '"' && byte != '\\') {
            continue;
        }
        (void)fwrite(text.data + plain, 1, i - plain, out);
        plain = i + 1;
        if (byte >= 0x20) {
            (void)fprintf(out, "\\%c", byte);
        } else if (escapes[byte] != NULL) {
            (void)fputs(escapes[byte], out);
        } else {
            (void)fprintf(out, "\\u%04x", byte);
        }
    }
    if (plain < text.size) {
        (void)fwrite(text.data + plain, 1, text.size - plain, out);
    }
}

static void put_base64(FILE *out, toon_slice bytes) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                 "abcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *in = (const unsigned char *)bytes.data;
    for (size_t i = 0; i < bytes.size; i += 3) {
        size_t left = bytes.size - i < 3 ? bytes.size - i : 3;
        uint32_t bits = (uint32_t)in[i] << 16;
        bits |= left > 1 ? (uint32_t)in[i + 1] << 8 : 0;
        bits |= left > 2 ? in[i + 2] : 0;
        char group[] = {digits[bits >> 18], digits[bits >> 12 & 63],
                        digits[bits >> 6 & 63], digits[bits & 63]};
        memset(group + left + 1, '=', 3 - left);
        (void)fwrite(group, 1, sizeof group, out);
    }
}

void tst_put_json(FILE *out, const char *name, toon_slice bytes) {
    bool text = is_utf8(bytes);
    (void)fprintf(out, text ? "\"%s\":\"" : "\"%s_base64\":\"", name);
    if (text) {
        put_json_text(out, bytes);
    } else {
        put_base64(out, bytes);
    }
    (void)fputc('"', out);
}

void tst_put_record(FILE *out, toon_slice key, const toon_value *value,
                    const toon_key_stat *stat) {
    (void)fputc('{', out);
    tst_put_json(out, "key", key);
    if (value != NULL) {
        (void)fputc(',', out);
        tst_put_json(out, "value", toon_bytes(value->data, value->size));
    } else {
        (void)fprintf(out, ",\"size\":%zu", stat->size);
    }
    (void)fprintf(out, ",\"written_ms\":%" PRId64 ",\"expires_ms\":%" PRId64,
                  stat->meta.written_ms, stat->meta.expires_ms);
    if (stat->meta.mode != 0) {
        (void)fprintf(out, ",\"mode\":\"%" PRIo32 "\"", stat->meta.mode);
    }
    (void)fputs("}\n", out);
}

void tst_put_escaped(FILE *out, toon_slice bytes) {
    const unsigned char *at = (const unsigned char *)bytes.data;
    for (size_t i = 0; i < bytes.size;) {
        size_t size = utf8_size(at + i, bytes.size - i);
        /* U+0080 to U+009F are control characters as well. */
        bool control = size == 2 && at[i] == 0xc2 && at[i + 1] < 0xa0;
        if (at[i] == '\n' || at[i] == '\t' || at[i] == '\\') {
            (void)fputs(at[i] == '\n'   ? "\\n"
                        : at[i] == '\t' ? "\\t"
                                        : "\\\\",
                        out);
            i++;
        } else if (size == 0 || control || at[i] < 0x20 || at[i] == 0x7f) {
            (void)fprintf(out, "\\x%02x", at[i++]);
        } else {
            (void)fwrite(at + i, 1, size, out);
            i += size;
        }
    }
}

void tst_format_time(char out[TST_TIME_SIZE], int64_t ms) {
    int64_t part = ms % 1000 < 0 ? ms % 1000 + 1000 : ms % 1000;
    time_t seconds = (time_t)((ms - part) / 1000);
    struct tm tm;
    size_t used = 0;
    if (gmtime_r(&seconds, &tm) != NULL) {
        used = strftime(out, TST_TIME_SIZE, "%Y-%m-%dT%H:%M:%S", &tm);
    }
    if (used == 0) { /* a year that no calendar has */
        (void)snprintf(out, TST_TIME_SIZE, "@%" PRId64 "ms", ms);
        return;
    }
    (void)snprintf(out + used, TST_TIME_SIZE - used, ".%03dZ", (int)part);
}

int64_t tst_now_ms(void) {
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}
