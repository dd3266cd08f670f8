/*
 * salvage_claims.c - keys of which a newer record may have been lost.
 *
 * Knows keys by hash and name; must never know files or where records lie.
 */
#include "salvage_claims.h"

#include <stdlib.h>

bool toon_claims_init(toon_claims *claims) {
    *claims = (toon_claims){.places = toon_slot_map_new(1, 0)};
    return claims->places != NULL;
}

void toon_claims_free(toon_claims *claims) {
    for (size_t i = 0; i < claims->count; i++)
        free(claims->items[i].name);
    free(claims->items);
    if (claims->places != NULL)
        toon_slot_map_free(claims->places);
    *claims = (toon_claims){0};
}

toon_claim *toon_claims_find(const toon_claims *claims, uint64_t hash) {
    uint64_t places[SLOT_MAP_SAME_HASH_MAX];
    if (claims->open == 0)
        return NULL;
    if (toon_slot_map_get(claims->places, hash, places) == 0)
        return NULL;
    return &claims->items[places[0] - 1];
}

static bool push(toon_claims *claims, const toon_claim *claim) {
    if (claims->count == claims->capacity) {
        size_t capacity = claims->capacity * 2 + 64;
        toon_claim *items = realloc(claims->items, capacity * sizeof *items);
        if (items == NULL)
            return false;
        claims->items = items;
        claims->capacity = capacity;
    }
    if (!toon_slot_map_add(claims->places, claim->hash, claims->count + 1))
        return false;
    claims->items[claims->count++] = *claim;
    claims->open++;
    return true;
}

bool toon_claims_add(toon_claims *claims, const toon_claim *claim) {
    toon_claim *before = toon_claims_find(claims, claim->hash);
    if (before != NULL && before->name != NULL) {
        if (claim->sure || !before->sure) {
            before->is_deletion = claim->is_deletion;
            before->offset = claim->offset;
        }
        before->sure = before->sure || claim->sure;
        return true;
    }
    toon_claims_settle(claims, claim->hash); /* it had no name */
    toon_claim copy = *claim;
    if (claim->name != NULL) {
        copy.name = malloc(claim->name_size + 1);
        if (copy.name == NULL)
            return false;
        memcpy(copy.name, claim->name, claim->name_size);
    }
    if (push(claims, &copy))
        return true;
    free(copy.name);
    return false;
}

void toon_claims_settle(toon_claims *claims, uint64_t hash) {
    toon_claim *claim = toon_claims_find(claims, hash);
    if (claim == NULL)
        return;
    (void)toon_slot_map_remove(claims->places, hash,
                               (uint64_t)(claim - claims->items) + 1);
    claim->settled = true;
    claims->open--;
}
