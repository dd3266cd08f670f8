/*
 * survey.h - reading every line of a log that may be damaged, and bringing to
 * life what is left of it.
 *
 * Goes from line to line and, behind damaged bytes, on with the next valid
 * line, also where that begins in the middle of what seems to be one. Valid
 * records are applied to a volume in their order; left out are those of a
 * batch that lacks a record, and those that build on a damaged one. Whoever
 * asks is told of everything.
 *
 * Knows the log's lines and the volume; must never know the index's content,
 * what is to be done about damage, or clients. Writes nothing.
 */
#ifndef TOON_SURVEY_H
#define TOON_SURVEY_H

#include "index_file.h"
#include "volume.h"

/* What is known of the log's first bytes. */
typedef struct toon_survey_head {
    bool magic_right;
    bool version_right;
    bool headline_right;
    bool base_known;
    uint32_t version; /* as it stands there */
} toon_survey_head;

/* Damaged bytes between valid lines. */
typedef struct toon_damage {
    uint64_t from;
    uint64_t to;     /* behind them; where a valid line begins, or the end */
    bool unreadable; /* the disk gave an error for some of them */
    bool unsteady;   /* they were others when they were read again */
} toon_damage;

/* A valid record, and its key. */
typedef struct toon_surveyed {
    toon_slice key;
    uint64_t hash; /* of the key, with the volume's seed */
    const toon_record *record;
    uint64_t offset;
} toon_surveyed;

typedef enum toon_left_out {
    LEFT_OUT_OF_BATCH, /* its batch lacks a record, or its end */
    LEFT_OUT_OF_CHAIN, /* it, or another of its batch, builds on what is no
                          valid record, or not its key's */
} toon_left_out;

/* Each may be NULL. An error ends the survey. */
typedef struct toon_survey_events {
    void *arg;
    /* Every valid record, before it is known whether it is kept. */
    toon_err (*record)(void *arg, const toon_record *record, uint64_t offset);
    toon_err (*mark)(void *arg, uint64_t offset);
    toon_err (*kept)(void *arg, const toon_surveyed *it);
    toon_err (*left_out)(void *arg, const toon_surveyed *it, toon_left_out why);
    toon_err (*damaged)(void *arg, const toon_damage *place);
    /* A whole record that a newer program wrote. */
    toon_err (*foreign)(void *arg, uint64_t offset, char type);
    /* Once: all that lies before survey->stop has been told and applied, but
     * what belongs to a batch that goes on there. */
    toon_err (*reached)(void *arg);
    void (*progress)(void *arg, uint64_t at, uint64_t end);
} toon_survey_events;

/* Offsets of records, rising. */
typedef struct toon_survey_list {
    uint64_t *items; /* owned */
    size_t count;
    size_t capacity;
} toon_survey_list;

typedef struct toon_survey {
    toon_log *log; /* the volume's */
    toon_volume *volume;
    toon_survey_head head;
    const toon_survey_events *events;
    uint64_t stop;  /* where `reached` is wanted; UINT64_MAX: nowhere */
    uint64_t start; /* of the first line */
    uint64_t at;
    bool in_broken_batch;     /* until the next batch's end */
    toon_survey_list pending; /* of a batch whose end has not been read */
    toon_slot_map *uncertain; /* keys of which a newer value was left out */
    toon_buf key;             /* scratch */
} toon_survey;

/*
 * Opens the log in `dir`, however damaged, with an empty volume. `index` may
 * be NULL; if it is of this log, the volume's hash is the index's. If the head
 * is damaged, other witnesses are asked for the salt; with `distrust`, of a
 * log that is known to be damaged, also if it seems to be right. TOON_NOT_FOUND,
 * TOON_CORRUPT: there is no log, or one that nothing can be told of.
 */
toon_err toon_survey_open(const toon_dir *dir, const toon_index *index,
                          bool distrust, toon_survey *out);
void toon_survey_close(toon_survey *survey);

toon_err toon_survey_push(toon_survey_list *list, uint64_t offset);

/* Reads it all. The events happen in the order of the log. */
toon_err toon_survey_run(toon_survey *survey, const toon_survey_events *events);

/* TOON_IO: bytes that change while nobody may write tell nothing. */
toon_err toon_survey_fail_unsteady(const toon_survey *survey,
                                   const toon_damage *place);

/*
 * If one damaged byte explains damaged bytes, what line they were: a record,
 * or a mark (*is_mark). `line` gets its bytes, which `record` borrows.
 */
bool toon_survey_mend(const toon_survey *survey, const toon_damage *place,
                      toon_buf *line, toon_record *record, bool *is_mark);

/* Is all there that the values of the pending records, a whole batch, are made
 * of? */
toon_err toon_survey_judge_pending(const toon_survey *survey, bool *based);

/* Fills in what the head of `log` says; see toon_survey_open(). `first` is
 * where the first line is expected. */
toon_err toon_survey_read_head(toon_log *log, const toon_index *index,
                               bool distrust, toon_survey_head *head);

#endif
