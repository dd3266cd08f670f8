/*
 * salvage_claims.h - keys of which a newer record may have been lost.
 *
 * A claim says: at this offset there was a record of this key, and it is not
 * among those that are left. It is settled when a later record of the key is
 * found. What is not settled in the end is lost, or older than it was.
 *
 * Knows keys by hash and name; must never know files or where records lie.
 */
#ifndef TOON_SALVAGE_CLAIMS_H
#define TOON_SALVAGE_CLAIMS_H

#include "slot_map.h"
#include "toonstore.h"

typedef struct toon_claim {
    uint64_t hash;
    uint64_t offset;
    char *name; /* owned; NULL: not known */
    size_t name_size;
    bool sure;        /* it is known that there was one, and of which key */
    bool is_deletion; /* the lost record deleted the key */
    bool is_removed;  /* and for that, the key was taken from what is left */
    bool settled;
} toon_claim;

typedef struct toon_claims {
    toon_claim *items; /* owned; settled ones stay */
    size_t count;
    size_t capacity;
    size_t open;           /* not settled */
    toon_slot_map *places; /* hash to item, counted from 1 */
} toon_claims;

bool toon_claims_init(toon_claims *claims); /* false: no memory */
void toon_claims_free(toon_claims *claims);

/* A claim on a key that has one already makes it one, as of the later lost
 * record. `name` is copied. False: no memory. */
bool toon_claims_add(toon_claims *claims, const toon_claim *claim);

/* NULL: there is none that is open. */
toon_claim *toon_claims_find(const toon_claims *claims, uint64_t hash);

void toon_claims_settle(toon_claims *claims, uint64_t hash);

#endif
