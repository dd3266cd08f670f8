/*
 * client_name.h - what a client may call itself; for HELLO and CLIENT.
 */
#ifndef TOON_CLIENT_NAME_H
#define TOON_CLIENT_NAME_H

#include "state.h"

/* Printable characters without spaces only; else an error reply that begins
 * with `what`, and false. */
bool client_check_name(call *c, toon_slice name, const char *what);

/* An empty name is none. Lacking memory, the old one stays. */
void client_set_name(client *c, toon_slice name);

#endif
