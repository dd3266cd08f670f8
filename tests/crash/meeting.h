/*
 * meeting.h - lets a test do something between two disk calls of a thread of
 * the store, so that what happens side by side happens in a known order.
 *
 * While a meeting is open, another thread that has changed the disk waits for
 * the test, unless it holds a lock that the test's changes need; and not for
 * ever, since the test may have to wait for it.
 *
 * Knows the store's locks; must never know what either does.
 */
#ifndef TOON_TEST_MEETING_H
#define TOON_TEST_MEETING_H

#include "toonstore.h"

/* This thread meets the others of the store. */
void meeting_open(toon_store *store);
void meeting_close(void);

/* Waits for another thread; false: none has come for a while. */
bool meeting_wait(void);

/* Lets it go on. */
void meeting_go_on(void);

#endif
