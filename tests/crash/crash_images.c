/*
 * crash_images.c - lives of stores on a disk that keeps a journal; after every
 * call of it the power is cut, or the process killed, in many ways; what is
 * left is opened and compared with what was promised.
 *
 * A world is a seed: a store that lives several lives. Each life is a random
 * workload; each but the first begins with one of the images that the life
 * before could have left, and is recorded from the first call of its opening
 * on, so that crashes in the middle of recovery are among the crash points.
 * Every call of every life is one.
 *
 * Knows the workload, images and the history; must never know what a log is.
 */
#include "disk_image.h"
#include "image_check.h"
#include "test_random.h"
#include "workload.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { WRONG_MAX = 20 }; /* enough to look at */

static struct {
    unsigned seed;   /* of the first world */
    unsigned worlds; /* one seed after the other */
    unsigned lives, steps;
    unsigned per_call; /* images behind each call */
    unsigned seconds;  /* worlds go on so long; 0: as many as `worlds` */
    bool keep;         /* also what was right */
    bool only;         /* one image alone: */
    unsigned only_life;
    size_t only_call;
    char only_kind[32];
    uint64_t only_variant;
} options = {.seed = 1, .worlds = 12, .lives = 8, .steps = 25, .per_call = 3};

/* The directory of this run; in it a store lives, in another directory of its
 * own, and images are opened. */
static char base[64], life_dir[80], store_dir[96], image_dir[80], copy_dir[80];
static uint64_t opened, wrong;

/* What is being opened, for people and for the handler of a crash. */
static char current[300];

/* A liar's image is of a call that lied. */
static const char *const lie_names[] = {"", "lying-"};

/* ------------------------------------------------------------------ worlds */

struct world {
    uint64_t seed, random;
    disk_journal journal;
    history history;
    workload workload;
    unsigned life;
    size_t born;    /* length of the journal at the beginning of this life */
    size_t closing; /* and before the store was closed */
};

/* One image, named so that it can be made again. */
struct target {
    const struct world *world;
    const disk_platters *platters;
    size_t call;
    disk_image_kind kind;
    bool lies;
    uint64_t variant;
};

static uint64_t mixed(uint64_t a, uint64_t b) {
    uint64_t hash = (a ^ b * 0x9e3779b97f4a7c15u) + 0x632be59bd9b4e019u;
    hash = (hash ^ hash >> 30) * 0xbf58476d1ce4e5b9u;
    hash = (hash ^ hash >> 27) * 0x94d049bb133111ebu;
    return hash ^ hash >> 31;
}

static uint64_t seed_of(const struct target *target) {
    uint64_t seed = mixed(target->world->seed, target->world->life);
    seed = mixed(seed, target->call);
    seed = mixed(seed, (uint64_t)target->kind * 2 + target->lies);
    return mixed(seed, target->variant);
}

/* ------------------------------------------------------------------ report */

static void name_target(const struct target *target) {
    char text[160] = "the end";
    const disk_journal *journal = &target->world->journal;
    if (target->call < journal->count)
        disk_op_text(&journal->ops[target->call], text, sizeof text);
    (void)snprintf(current, sizeof current,
                   "--seed %llu --only %u:%zu:%s%s:%llu (before: %s)",
                   (unsigned long long)target->world->seed, target->world->life,
                   target->call, lie_names[target->lies],
                   disk_image_kind_name(target->kind),
                   (unsigned long long)target->variant, text);
}

/* Kept beside the directory in which it was opened, as it was before. */
static void keep_image(const struct target *target, const disk_image *image) {
    char path[200];
    (void)snprintf(path, sizeof path, "%s/kept-%llu-%u-%zu-%s%s-%llu", base,
                   (unsigned long long)target->world->seed, target->world->life,
                   target->call, lie_names[target->lies],
                   disk_image_kind_name(target->kind),
                   (unsigned long long)target->variant);
    if (disk_image_write(image, WORKLOAD_STORE, path))
        (void)fprintf(stderr, "  kept in %s\n", path);
}

static void print_journal(const struct target *target) {
    const disk_journal *journal = &target->world->journal;
    size_t from = target->call > 12 ? target->call - 12 : 0;
    for (size_t i = from; i < journal->count && i < target->call + 3; i++) {
        char text[160];
        disk_op_text(&journal->ops[i], text, sizeof text);
        (void)fprintf(stderr, "  %s%zu %s\n", i == target->call ? "> " : "", i,
                      text);
    }
}

static void tell_wrong(const struct target *target, const disk_image *image,
                       const char *text) {
    wrong++;
    (void)fprintf(stderr,
                  "WRONG: crash_images --lives %u --steps %u %s\n  %s\n",
                  options.lives, options.steps, current, text);
    print_journal(target);
    keep_image(target, image);
}

/* ------------------------------------------------------------------ images */

/* The copies of a life that the image may have; those that were made long ago
 * are looked at now and then. */
static bool copies_are_right(const struct target *target,
                             const disk_image *image, char *text, size_t size) {
    enum { LONG_AGO = 10 };

    const workload *life = &target->world->workload;
    bool right = true;
    for (unsigned i = 0; right && i < life->copies; i++) {
        const workload_copy *copy = &life->copied[i];
        bool done = target->call >= copy->done;
        if (target->call < copy->begun ||
            (target->call > copy->done + LONG_AGO && target->variant % 8 != 0))
            continue;
        disk_remove(copy_dir);
        (void)disk_image_write(image, copy->name, copy_dir);
        right = image_is_copy(copy_dir, &target->world->history, copy->state,
                              done, text, size);
    }
    return right;
}

static history_window window_of(const struct target *target) {
    const history *past = &target->world->history;
    if (!disk_image_is_kill(target->kind))
        return history_after_power_cut(past, target->call);
    return history_after_kill(past, target->call,
                              target->kind == IMAGE_KILL_TORN);
}

static void open_image(const struct target *target) {
    char text[900] = "";
    disk_image image;
    const history *past = &target->world->history;
    name_target(target);
    disk_remove(image_dir);
    disk_image_build(target->platters, target->kind, seed_of(target), &image);
    (void)disk_image_write(&image, WORKLOAD_STORE, image_dir);
    bool right = target->lies
                     ? image_is_no_invention(image_dir, past, text, sizeof text)
                     : image_is_right(image_dir, past, window_of(target),
                                      target->variant, text, sizeof text) &&
                           copies_are_right(target, &image, text, sizeof text);
    opened++;
    if (!right)
        tell_wrong(target, &image, text);
    else if (options.keep)
        keep_image(target, &image);
    disk_image_free(&image);
    current[0] = '\0';
}

/* A disk of which one call lied: a sync that did nothing, a write that did
 * half of it, a name that is gone. */
static void open_lying_image(struct target target) {
    uint64_t random = seed_of(&target) | 1;
    disk_platters platters;
    const disk_journal *journal = &target.world->journal;
    if (target.call == 0)
        return;
    disk_platters_init(journal, &platters);
    size_t lie = random_below(&random, target.call);
    while (lie > 0 && journal->ops[lie].kind != DISK_SYNC &&
           random_below(&random, 2) == 0)
        lie--;
    platters.lie = lie;
    disk_platters_advance(&platters, target.call);
    target.platters = &platters;
    open_image(&target);
    disk_platters_free(&platters);
}

static bool is_wanted(const struct target *target) {
    return !options.only ||
           (target->world->life == options.only_life &&
            target->call == options.only_call &&
            target->variant == options.only_variant &&
            target->lies == (strncmp(options.only_kind, "lying-", 6) == 0) &&
            strcmp(disk_image_kind_name(target->kind),
                   options.only_kind + (target->lies ? 6 : 0)) == 0);
}

static void open_if_wanted(const struct target *target) {
    if (!is_wanted(target) || wrong >= WRONG_MAX)
        return;
    if (target->lies)
        open_lying_image(*target);
    else
        open_image(target);
}

/* More are opened soon after a rename: what it brought into place was written
 * long before. */
static unsigned images_at(const disk_journal *journal, size_t call) {
    enum { SOON = 3, MORE = 3 };

    bool soon = false;
    for (size_t i = call > SOON ? call - SOON : 0; i < call; i++)
        soon = soon || journal->ops[i].kind == DISK_RENAME;
    return soon ? options.per_call * MORE : options.per_call;
}

/* Some kinds of images after the first `call` calls; on a disk where all is
 * synced, every power cut leaves the same. */
static void open_images_at(const struct world *world,
                           const disk_platters *platters, size_t call) {
    uint64_t random = mixed(mixed(world->seed, world->life), call) | 1;
    struct target target = {.world = world, .platters = platters, .call = call};
    bool clean = disk_platters_are_clean(platters);
    unsigned first = (unsigned)random_below(&random, IMAGE_KINDS);
    bool tears = call < world->journal.count &&
                 world->journal.ops[call].kind == DISK_WRITE;
    unsigned count = images_at(&world->journal, call);
    for (unsigned i = 0; i < count; i++) {
        target.kind = (disk_image_kind)((first + i * 5) % IMAGE_KINDS);
        target.variant = random_below(&random, 1000);
        if (target.kind == IMAGE_KILL_TORN && !tears)
            target.kind = IMAGE_KILL;
        if (clean && !disk_image_is_kill(target.kind))
            target.kind = IMAGE_LOST;
        open_if_wanted(&target);
        if (clean)
            break;
    }
    if (random_below(&random, 6) == 0) {
        target.lies = true;
        target.kind =
            (disk_image_kind)(IMAGE_LOST +
                              random_below(&random, IMAGE_KINDS - IMAGE_LOST));
        open_if_wanted(&target);
    }
}

/* ------------------------------------------------------------------- lives */

static void world_wrong(struct world *world, const char *what,
                        const char *text) {
    wrong++;
    (void)fprintf(
        stderr,
        "WRONG: crash_images --lives %u --steps %u --seed %llu: life %u, "
        "%s: %s\n",
        options.lives, options.steps, (unsigned long long)world->seed,
        world->life, what, text);
}

static void remove_life(const struct world *world) {
    char path[120];
    disk_remove(store_dir);
    for (unsigned i = 0; i < world->workload.copies_ever; i++) {
        (void)snprintf(path, sizeof path, "%s/" WORKLOAD_COPY, life_dir, i);
        disk_remove(path);
    }
    disk_remove(life_dir);
}

/* The store was opened on an image: which state is it in? */
static bool adopt(struct world *world, history_window window) {
    image_found found;
    char text[900];
    image_look(world->workload.store, &world->history, &found);
    if (history_go_on(&world->history, window, found.hash, world->born))
        return true;
    image_describe(&world->history, window, &found, text, sizeof text);
    world_wrong(world, "reborn", text);
    return false;
}

/* Behind the first rename, which gives the store its log; or behind another
 * of the calls that make the store. */
static size_t end_of_first_life(const struct world *world) {
    enum { YOUNG = 12 };

    const disk_journal *journal = &world->journal;
    size_t call = 0;
    if (world->seed % 2 == 0)
        return 1 + world->seed / 2 % YOUNG;
    while (call < journal->count && journal->ops[call].kind != DISK_RENAME)
        call++;
    return call < journal->count ? call + 1 : call;
}

/* Half end at any call and half at one that is no mere write, of which there
 * are few; what goes wrong there may show in the next life only. */
static size_t end_of_life(struct world *world) {
    const disk_journal *journal = &world->journal;
    size_t lived = journal->count - world->born;
    size_t call = world->born + random_below(&world->random, lived + 1);
    if (world->life == 0)
        return end_of_first_life(world);
    if (world->workload.kind == WORKLOAD_BARE) /* all unsynced that can be */
        return world->closing;
    if (random_below(&world->random, 2) == 0)
        return call;
    while (call > world->born && (journal->ops[call - 1].kind == DISK_WRITE ||
                                  journal->ops[call - 1].kind == DISK_ALLOCATE))
        call--;
    return call;
}

/* The first by a kill, half of the others by a power cut, and half of those so
 * that valid lines stand behind a hole. */
static disk_image_kind death_of_life(struct world *world) {
    static const disk_image_kind holes[] = {IMAGE_HOLES, IMAGE_SUBSET,
                                            IMAGE_SECTORS};
    bool kill = random_below(&world->random, 2) == 0;
    bool holed = random_below(&world->random, 2) == 0;
    size_t any = random_below(&world->random, IMAGE_KINDS - IMAGE_LOST);
    if (world->workload.kind == WORKLOAD_BARE && world->life > 0)
        return IMAGE_HOLES;
    if (kill || world->life == 0)
        return IMAGE_KILL;
    return holed ? holes[any % 3] : (disk_image_kind)(IMAGE_LOST + any);
}

/* Goes on from what a crash left: after a kill with the same journal, after a
 * power cut with all that is left on the platters. */
static bool rebirth(struct world *world) {
    disk_image image;
    disk_platters platters;
    disk_journal next;
    struct target target = {.world = world,
                            .call = end_of_life(world),
                            .kind = death_of_life(world)};
    bool kill = disk_image_is_kill(target.kind);
    disk_platters_init(&world->journal, &platters);
    disk_platters_advance(&platters, target.call);
    history_window window = window_of(&target);
    disk_image_build(&platters, target.kind, seed_of(&target), &image);
    remove_life(world);
    (void)mkdir(life_dir, 0777);
    (void)disk_image_write(&image, WORKLOAD_STORE, store_dir);
    if (kill)
        disk_journal_copy(&world->journal, target.call, &next);
    else
        disk_image_journal(&image, WORKLOAD_STORE, &next);
    disk_image_free(&image);
    disk_platters_free(&platters);
    disk_journal_free(&world->journal);
    world->journal = next;
    world->life++;
    world->born = kill ? target.call : next.count;
    lying_disk_record(life_dir, &world->journal);
    toon_err err = workload_open(&world->workload);
    if (err != TOON_OK) {
        world_wrong(world, "rebirth", toon_last_error()->text);
        return false;
    }
    bool right = adopt(world, window);
    if (right && !kill)
        history_flatten(&world->history);
    return right;
}

/* Bare lives are short, and so there are more of them: it is what comes after
 * a hole that counts. */
enum { BARE_SHARE = 3 };

static unsigned steps_of(const struct world *world) {
    bool bare = world->workload.kind == WORKLOAD_BARE;
    return bare ? options.steps / BARE_SHARE : options.steps;
}

static unsigned lives_of(const struct world *world) {
    bool bare = world->workload.kind == WORKLOAD_BARE;
    return bare ? options.lives * BARE_SHARE : options.lives;
}

/* Runs it, closes it, then crashes it after every call. */
static void live(struct world *world) {
    workload *life = &world->workload;
    disk_platters platters;
    workload_adopt(life);
    history_acknowledge(&world->history, lying_disk_length(),
                        history_newest(&world->history));
    workload_run(life, steps_of(world));
    world->closing = lying_disk_length();
    if (life->store != NULL)
        workload_close(life);
    if (life->wrong[0] != '\0') {
        world_wrong(world, "alive", life->wrong);
        return;
    }
    disk_platters_init(&world->journal, &platters);
    for (size_t call = world->born; call <= world->journal.count; call++) {
        disk_platters_advance(&platters, call);
        if (!options.only || options.only_life == world->life)
            open_images_at(world, &platters, call);
    }
    disk_platters_free(&platters);
}

static void run_world(uint64_t seed) {
    static const struct {
        workload_kind kind;
        toon_sync_policy sync;
    } sorts[] = {
        {WORKLOAD_MIXED, TOON_SYNC_NO},
        {WORKLOAD_MIXED, TOON_SYNC_ALWAYS},
        {WORKLOAD_UNIFORM, TOON_SYNC_NO},
        {WORKLOAD_BARE, TOON_SYNC_NO},
        {WORKLOAD_MIXED, TOON_SYNC_EVERYSEC},
        {WORKLOAD_UNIFORM, TOON_SYNC_ALWAYS},
    };

    size_t sort = seed % (sizeof sorts / sizeof *sorts);
    struct world world = {.seed = seed, .random = mixed(seed, 7) | 1};
    uint64_t wrong_before = wrong;
    (void)mkdir(life_dir, 0777);
    disk_journal_init(&world.journal);
    history_init(&world.history);
    lying_disk_reset();
    lying_disk_record(life_dir, &world.journal);
    workload_init(&world.workload, life_dir, &world.history, sorts[sort].kind,
                  sorts[sort].sync, seed);
    if (workload_open(&world.workload) != TOON_OK)
        world_wrong(&world, "birth", toon_last_error()->text);
    else
        live(&world);
    while (wrong == wrong_before && world.life + 1 < lives_of(&world) &&
           rebirth(&world))
        live(&world);
    lying_disk_reset();
    disk_journal_free(&world.journal);
    history_free(&world.history);
    remove_life(&world);
}

/* ----------------------------------------------------------------- program */

static const char usage[] =
    "usage: crash_images [option...]\n"
    "\n"
    "  --seed N       the first world's seed\n"
    "  --worlds N     so many worlds, each with the next seed\n"
    "  --seconds N    go on with new worlds so long (also in the environment,\n"
    "                 as TOON_CRASH_SECONDS)\n"
    "  --lives N      lives of a world: one more after each crash\n"
    "  --steps N      steps of a life\n"
    "  --per-call N   images after each call\n"
    "  --only LIFE:CALL:KIND:VARIANT\n"
    "                 opens this one image alone (with its --seed, --lives "
    "and\n"
    "                 --steps)\n"
    "  --keep         keeps also the images that were right\n"
    "  --help         this\n"
    "\n"
    "Prints how many images were opened and how many were wrong; the exit\n"
    "status is 1 if one was. A wrong one is kept, and told with the options\n"
    "that open it again.\n";

static bool parse_only(const char *text) {
    unsigned long long variant;
    options.only = true;
    if (sscanf(text, "%u:%zu:%31[a-z-]:%llu", /* NOLINT: checked below */
               &options.only_life, &options.only_call, options.only_kind,
               &variant) != 4)
        return false;
    options.only_variant = variant;
    options.worlds = 1;
    return true;
}

static unsigned number(const char *text) {
    char *end;
    unsigned long value = strtoul(text, &end, 10);
    if (*text == '\0' || *end != '\0' || value > 1000000000) {
        (void)fprintf(stderr, "crash_images: %s is no number\n", text);
        exit(2);
    }
    return (unsigned)value;
}

static void refuse_usage(void) {
    (void)fputs(usage, stderr);
    exit(2);
}

/* Options that take a number, by the letter that getopt_long() gives them. */
static unsigned *number_of(int letter) {
    switch (letter) {
    case 's':
        return &options.seed;
    case 'w':
        return &options.worlds;
    case 't':
        return &options.seconds;
    case 'l':
        return &options.lives;
    case 'n':
        return &options.steps;
    case 'p':
        return &options.per_call;
    default:
        return NULL;
    }
}

static void take_option(int letter) {
    unsigned *value = number_of(letter);
    if (value != NULL) {
        *value = number(optarg);
    } else if (letter == 'k') {
        options.keep = true;
    } else if (letter == 'h') {
        (void)fputs(usage, stdout);
        exit(0);
    } else if (letter != 'o' || !parse_only(optarg)) {
        refuse_usage();
    }
}

static void parse_options(int argc, char **argv) {
    static const struct option names[] = {
        {"seed", required_argument, NULL, 's'},
        {"worlds", required_argument, NULL, 'w'},
        {"seconds", required_argument, NULL, 't'},
        {"lives", required_argument, NULL, 'l'},
        {"steps", required_argument, NULL, 'n'},
        {"per-call", required_argument, NULL, 'p'},
        {"only", required_argument, NULL, 'o'},
        {"keep", no_argument, NULL, 'k'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    const char *seconds = getenv("TOON_CRASH_SECONDS");
    int letter;
    if (getenv("TOON_SMALL") != NULL) {
        options.worlds = 3;
        options.per_call = 1;
    }
    if (seconds != NULL)
        options.seconds = number(seconds);
    while ((letter = getopt_long(argc, argv, "", names, NULL)) != -1)
        take_option(letter);
    if (optind < argc)
        refuse_usage();
}

static void make_base(void) {
    bool memory = access("/dev/shm", W_OK) == 0;
    (void)snprintf(base, sizeof base, "%s/toon-crash-XXXXXX",
                   memory ? "/dev/shm" : "/tmp");
    if (mkdtemp(base) == NULL) {
        perror(base);
        exit(2);
    }
    (void)snprintf(life_dir, sizeof life_dir, "%s/life", base);
    (void)snprintf(store_dir, sizeof store_dir, "%s/" WORKLOAD_STORE, life_dir);
    (void)snprintf(image_dir, sizeof image_dir, "%s/image", base);
    (void)snprintf(copy_dir, sizeof copy_dir, "%s/copy", base);
}

static void remove_base(void) {
    disk_remove(image_dir);
    disk_remove(copy_dir);
    (void)rmdir(base); /* not if something was kept */
}

/* Says which image it was; what follows is as without this. */
static void on_crash(int number) {
    static const char text[] = "\nWRONG: a crash while opening ";
    (void)!write(STDERR_FILENO, text, sizeof text - 1);
    (void)!write(STDERR_FILENO, current, strnlen(current, sizeof current));
    (void)!write(STDERR_FILENO, "\n", 1);
    (void)signal(number, SIG_DFL);
    (void)raise(number);
}

static void watch_for_crashes(void) {
    static const int numbers[] = {SIGABRT, SIGSEGV, SIGFPE};
    struct sigaction action = {.sa_handler = on_crash};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        struct sigaction before;
        (void)sigaction(numbers[i], NULL, &before);
        if (before.sa_handler == SIG_DFL) /* a sanitizer has its own */
            (void)sigaction(numbers[i], &action, NULL);
    }
}

static bool goes_on(unsigned done, time_t started) {
    if (wrong >= WRONG_MAX)
        return false;
    if (options.seconds > 0 && !options.only)
        return time(NULL) - started < (time_t)options.seconds;
    return done < options.worlds;
}

int main(int argc, char **argv) {
    time_t started = time(NULL);
    parse_options(argc, argv);
    make_base();
    watch_for_crashes();
    for (unsigned i = 0; goes_on(i, started); i++)
        run_world(options.seed + i);
    remove_base();
    printf("crash images: %llu opened, %llu wrong\n",
           (unsigned long long)opened, (unsigned long long)wrong);
    return wrong > 0 || opened == 0 ? 1 : 0;
}
