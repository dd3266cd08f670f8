/*
 * dir_lock.h - db.lock: one writer, or several readers, of a directory.
 *
 * Knows flock(2) and process numbers; must never know what is locked.
 */
#ifndef TOON_DIR_LOCK_H
#define TOON_DIR_LOCK_H

#include "io.h"

/*
 * Readers share, a writer is alone and leaves its process number. Held until
 * the file is closed; never removed, since a new file under the same name
 * would be another lock. TOON_LOCKED names the holder. A reader finds no lock
 * file where nobody ever wrote: then *out is no file, and that is fine.
 */
toon_err toon_dir_lock(const toon_dir *dir, bool read_only, toon_file *out);

#endif
