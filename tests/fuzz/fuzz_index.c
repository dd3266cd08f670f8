/*
 * fuzz_index.c - any bytes as db.toon.idx, beside a log that is sound.
 *
 * The first byte chooses what of the index is put right, so that more than
 * its checksum is tested: bit 0 its CRC, bit 1 also salt and last CRC, so
 * that it seems to be this log's. The rest is the file.
 *
 * An index is a cache: one that is wrong in itself must be passed over, and
 * one whose checksum was forged must do no more than give wrong answers.
 */
#include "epoch.h"
#include "made_log.h"
#include "mend.h"
#include "recover.h"
#include "scratch.h"

enum { MEND_CRC = 1, MEND_BINDING = 2 };

/* Written once: opening for reading changes nothing. */
static const made_log *sound_log(void) {
    static made_log log;
    if (log.bytes.size == 0) {
        made_log_sound(&log);
        scratch_write(TOON_LOG_NAME, log.bytes.data, log.bytes.size);
    }
    return &log;
}

/* Whatever it says can be read. */
static void check_loaded(const toon_dir *dir) {
    toon_index index;
    toon_err err = toon_index_load(dir, &index);
    CHECK(err == TOON_OK || err == TOON_CORRUPT);
    if (err != TOON_OK)
        return;
    uint64_t sum = 0;
    for (uint64_t i = 0; i < index.head.rows; i++)
        sum += toon_index_row(&index, i);
    for (uint64_t i = 0; i < index.head.slots; i++)
        sum += toon_index_slot(&index, i).payload;
    for (uint64_t i = 0; i < index.head.expiring; i++)
        sum += toon_index_expiry(&index, i).payload;
    volatile uint64_t used = sum;
    (void)used;
    toon_index_free(&index);
}

static void load_slot(const toon_volume *volume, toon_slot slot) {
    toon_hit hit;
    toon_pieces pieces;
    CHECK(toon_volume_load(volume, slot.payload, TOON_LOOK_META, false, &hit) ==
          TOON_OK);
    toon_hit_free(&hit);
    CHECK(toon_volume_load(volume, slot.payload, TOON_LOOK_WHOLE, false,
                           &hit) == TOON_OK);
    if (!hit.damaged && hit.record.type != RECORD_DELETED) {
        toon_err err = toon_volume_pieces(volume, &hit, false, &pieces);
        CHECK(err == TOON_OK || err == TOON_CORRUPT);
        if (err == TOON_OK)
            toon_pieces_free(&pieces);
    }
    toon_hit_free(&hit);
}

static void check_volume(const toon_volume *volume) {
    enum { CAPACITY = 4096 };

    static toon_slot slots[CAPACITY];
    uint64_t cursor = 0;
    uint64_t seen = 0;
    CHECK(toon_slot_map_check(volume->table));
    CHECK(toon_expiry_check(&volume->expiry));
    do {
        size_t count =
            toon_slot_map_scan(volume->table, &cursor, 512, slots, CAPACITY);
        for (size_t i = 0; i < count; i++)
            load_slot(volume, slots[i]);
        seen += count;
    } while (cursor != 0);
    CHECK(seen == toon_slot_map_count(volume->table));
}

static void check_recovered(const toon_dir *dir) {
    toon_volume *volume;
    toon_recovery recovery;
    toon_err err = toon_recover(dir, true, &volume, &recovery);
    CHECK(err == TOON_OK || err == TOON_CORRUPT);
    CHECK(scratch_changes() == 0);
    if (err != TOON_OK)
        return;
    CHECK(recovery.torn_bytes == 0); /* the log is sound */
    CHECK(toon_epoch_enter());
    check_volume(volume);
    toon_epoch_leave();
    toon_volume_free(volume);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const made_log *log = sound_log();
    toon_dir dir;
    if (size == 0)
        return 0;
    char *index = fuzz_copy(data + 1, size - 1);
    if ((data[0] & MEND_BINDING) != 0)
        mend_index_for_log(index, size - 1, log->bytes.data, log->bytes.size);
    if ((data[0] & (MEND_CRC | MEND_BINDING)) != 0)
        mend_index(index, size - 1);
    scratch_write(TOON_INDEX_NAME, index, size - 1);
    free(index);
    CHECK(toon_dir_open(scratch_io(), scratch_path(), false, &dir) == TOON_OK);
    scratch_forget_changes();
    check_loaded(&dir);
    check_recovered(&dir);
    toon_dir_close(&dir);
    return 0;
}
