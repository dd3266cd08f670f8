/*
 * command_docs.h - one entry of COMMAND DOCS.
 */
#ifndef TOON_COMMAND_DOCS_H
#define TOON_COMMAND_DOCS_H

#include "command.h"

/* The name and the map that tells of it. */
void command_docs_write(reply *out, const command *cmd);

size_t command_sub_count(const command *cmd);

#endif
