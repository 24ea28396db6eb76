/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which of several signs caused the others, in whatever order they were told and the clocks stood. */
#include "verdict.h"

#define MAX_SIGNS 5
#define MS 1000
#define N_STORIES 20000

typedef struct {
    const char *what;
    GwSign signs[MAX_SIGNS]; /* the first one is the cause; at_us 0 ends the list */
} Row;

#define SIGN(k, s, ms) { .kind = GW_SIGN_##k, .side = GW_SIDE_##s, .at_us = (ms) * MS }

static const Row rows[] = {
    { "one alone", { SIGN (MIGRATION, SOURCE, 1000) } },
    { "a killed QEMU ends the lane, starves the other one, and the migration fails",
      { SIGN (QEMU_KILLED, SOURCE, 1010), SIGN (LANE_ENDED, SOURCE, 1000),
        SIGN (QEMU_STARVED, DESTINATION, 1005), SIGN (STEP, SOURCE, 1001) } },
    { "a killed QEMU of the destination fails the source's migration",
      { SIGN (QEMU_KILLED, DESTINATION, 1300), SIGN (MIGRATION, SOURCE, 1000),
        SIGN (STEP, SOURCE, 1001) } },
    { "a killed courier starves both QEMUs",
      { SIGN (COURIER_EXIT, SOURCE, 1050), SIGN (QEMU_STARVED, DESTINATION, 1000),
        SIGN (LINK_LOST, LINK, 1040), SIGN (MIGRATION, SOURCE, 1001) } },
    { "a link that broke starves QEMU, though its courier says so later",
      { SIGN (LINK_LOST, LINK, 1001), SIGN (QEMU_STARVED, DESTINATION, 1000),
        SIGN (MIGRATION, SOURCE, 1100) } },
    { "a QEMU that cannot load makes the other one's migration fail",
      { SIGN (QEMU_REJECTED, DESTINATION, 1020), SIGN (MIGRATION, SOURCE, 1010),
        SIGN (LANE_ENDED, SOURCE, 1000) } },
    { "what QEMU complains of behind the end of its stream is no cause",
      { SIGN (LINK_LOST, LINK, 1000), SIGN (QEMU_REJECTED, DESTINATION, 4400),
        SIGN (MIGRATION, SOURCE, 4300) } },
    { "nor is it when a courier was killed",
      { SIGN (COURIER_EXIT, DESTINATION, 1100), SIGN (QEMU_REJECTED, DESTINATION, 1000) } },
    { "a courier that cannot connect any more loses the link in the end",
      { SIGN (DIALER_LOST, SOURCE, 1000), SIGN (LINK_LOST, LINK, 9000),
        SIGN (QEMU_REJECTED, DESTINATION, 12000), SIGN (MIGRATION, SOURCE, 12000) } },
    { "a QEMU that gives up by itself starves the other one",
      { SIGN (MIGRATION_OWN, SOURCE, 1200), SIGN (QEMU_STARVED, DESTINATION, 1000),
        SIGN (STEP, SOURCE, 1300) } },
    { "its disk made it", { SIGN (DISK, SOURCE, 900), SIGN (MIGRATION_OWN, SOURCE, 1000) } },
    { "so can one whose error the guest was told of",
      { SIGN (DISK_NOTE, SOURCE, 900), SIGN (MIGRATION_OWN, SOURCE, 1000), SIGN (STEP, SOURCE, 1001) } },
    { "but that one ends no job", { SIGN (COURIER_EXIT, SOURCE, 1000), SIGN (DISK_NOTE, SOURCE, 10) } },
    { "who serves a disk's image takes its copy along, and the lane",
      { SIGN (DISK_SERVER, DESTINATION, 1100), SIGN (DISK_COPY, SOURCE, 1000),
        SIGN (LANE_ENDED, DESTINATION, 990), SIGN (STEP, SOURCE, 1001) } },
    { "a copy that fails at the end fails the migration",
      { SIGN (DISK_COPY, DESTINATION, 1000), SIGN (MIGRATION_OWN, SOURCE, 990),
        SIGN (QEMU_STARVED, DESTINATION, 1002), SIGN (STEP, SOURCE, 1001) } },
    { "a link that is lost loses the copies too",
      { SIGN (LINK_LOST, LINK, 9000), SIGN (DISK_COPY, DESTINATION, 9001), SIGN (MIGRATION, SOURCE, 9002) } },
    { "an agent that is lost takes its courier along, and QEMU with it",
      { SIGN (AGENT_LOST, DESTINATION, 1000), SIGN (COURIER_EXIT, DESTINATION, 990),
        SIGN (QEMU_STARVED, DESTINATION, 995), SIGN (OUTAGE, LINK, 960),
        SIGN (STEP, DESTINATION, 1001) } },
    { "an agent that is lost after QEMU failed is no cause of it",
      { SIGN (QEMU_REJECTED, DESTINATION, 1000), SIGN (AGENT_LOST, DESTINATION, 1500) } },
    { "a network that is gone takes the agent's connection along, in the end",
      { SIGN (OUTAGE, LINK, 1000), SIGN (AGENT_LOST, DESTINATION, 31000),
        SIGN (STEP, DESTINATION, 31001) } },
    { "a link that is down for a while is no cause of a kill",
      { SIGN (QEMU_KILLED, DESTINATION, 9000), SIGN (OUTAGE, LINK, 1000) } },
    { "of two alike the earlier", { SIGN (LINK_LOST, LINK, 1000), SIGN (LINK_LOST, LINK, 9000) } },
    { "the guest powered off, and QEMU ended",
      { SIGN (GUEST_OFF, SOURCE, 1010), SIGN (QEMU_KILLED, SOURCE, 1020),
        SIGN (QEMU_STARVED, DESTINATION, 1000), SIGN (MONITOR_CLOSED, SOURCE, 1015) } },
    { "a QEMU that ends in postcopy takes the guest along, whatever is told of the link",
      { SIGN (GUEST_LOST, DESTINATION, 9000), SIGN (OUTAGE, LINK, 1000), SIGN (DISK_NOTE, SOURCE, 900),
        SIGN (DIALER_LOST, SOURCE, 800), SIGN (STEP, DESTINATION, 9001) } },
    { "and the other QEMU and the agent",
      { SIGN (GUEST_LOST, SOURCE, 5000), SIGN (QEMU_KILLED, DESTINATION, 3000),
        SIGN (MIGRATION, SOURCE, 5001), SIGN (AGENT_LOST, DESTINATION, 2000) } },
    { "but one that ends because its guest did loses nothing",
      { SIGN (GUEST_OFF, DESTINATION, 1000), SIGN (GUEST_LOST, DESTINATION, 1010),
        SIGN (STEP, DESTINATION, 1011) } },
    { "the user ended it, whatever broke then",
      { SIGN (ABORT, NONE, 2000), SIGN (QEMU_KILLED, SOURCE, 1000), SIGN (LINK_LOST, LINK, 1999) } },
    { "a step that failed before QEMU's own word",
      { SIGN (MIGRATION, SOURCE, 1010), SIGN (STEP, SOURCE, 1000) } },
    { "a QEMU that stands still makes the other one wait",
      { SIGN (QEMU_SILENT, DESTINATION, 1100), SIGN (QEMU_SILENT, SOURCE, 1000) } },
    { "an agent that stands still cannot tell what its QEMU says",
      { SIGN (AGENT_SILENT, DESTINATION, 1100), SIGN (QEMU_SILENT, DESTINATION, 1000) } },
    { "a disk that hangs makes QEMU stand still",
      { SIGN (DISK, SOURCE, 1100), SIGN (QEMU_SILENT, SOURCE, 1000) } },
    { "of two that nothing joins the first",
      { SIGN (LINK_LOST, LINK, 1000), SIGN (QEMU_KILLED, SOURCE, 5000) } },
    { "of two that nothing joins and no clock tells apart, the one that does not follow",
      { SIGN (QEMU_KILLED, SOURCE, 1010), SIGN (LINK_LOST, LINK, 1000) } },
};

static void
assert_first (const char *what, const GPtrArray *signs, const GwSign *wanted)
{
    const GwSign *first = signs->pdata[gw_verdict_find_first (signs)];
    if (first != wanted) {
        for (guint i = 0; i < signs->len; i++) {
            const GwSign *sign = signs->pdata[i];
            g_test_message ("at %" G_GINT64_FORMAT " +- %" G_GINT64_FORMAT " us: kind %d on the %s",
                            sign->at_us, sign->error_us, sign->kind, gw_side_name (sign->side));
        }
        g_error ("%s: a sign of kind %d on the %s is taken for the cause, not %d on the %s", what,
                 first->kind, gw_side_name (first->side), wanted->kind, gw_side_name (wanted->side));
    }
}

/* All orders of the first `n`, by Heap's algorithm. */
static void
permute (const Row *row, GPtrArray *signs, guint n)
{
    if (n <= 1) {
        assert_first (row->what, signs, &row->signs[0]);
        return;
    }
    for (guint i = 0; i < n; i++) {
        permute (row, signs, n - 1);
        guint k = n % 2 == 0 ? i : 0;
        gpointer swapped = signs->pdata[k];
        signs->pdata[k] = signs->pdata[n - 1];
        signs->pdata[n - 1] = swapped;
    }
}

static GPtrArray *
take_row (const Row *row)
{
    GPtrArray *signs = g_ptr_array_new ();
    for (guint i = 0; i < MAX_SIGNS && row->signs[i].at_us != 0; i++)
        g_ptr_array_add (signs, (gpointer) &row->signs[i]);
    return signs;
}

static void
test_orders (void)
{
    for (guint i = 0; i < G_N_ELEMENTS (rows); i++) {
        g_autoptr (GPtrArray) signs = take_row (&rows[i]);
        permute (&rows[i], signs, signs->len);
    }
}

/* --- stories: a fault, what follows from it, clocks that are wrong, and news in any order ------------- */

static GwSide
random_side (GRand *rand)
{
    return (GwSide) g_rand_int_range (rand, GW_SIDE_SOURCE, GW_SIDE_LINK + 1);
}

/* A further sign that one of the story explains, at its true time; NULL when this try found none. */
static GwSign *
make_effect (const GPtrArray *story, GRand *rand)
{
    static const gint64 delays_us[] = { 0, 3 * MS, 400 * MS, 9000 * MS };
    const GwSign *cause = story->pdata[g_rand_int_range (rand, 0, (gint32) story->len)];
    GwSign effect = { .kind = (GwSignKind) g_rand_int_range (rand, 0, GW_N_SIGNS),
                      .side = random_side (rand) };
    effect.at_us = cause->at_us + delays_us[g_rand_int_range (rand, 0, G_N_ELEMENTS (delays_us))];
    effect.error_us = effect.side == GW_SIDE_DESTINATION ? ((GwSign *) story->pdata[0])->error_us : 0;
    return gw_verdict_explains (cause, &effect)
               ? gw_sign_new (effect.kind, effect.side, effect.at_us, effect.error_us, 0, "")
               : NULL;
}

static GPtrArray *
make_story (GRand *rand, gint64 error_us)
{
    GPtrArray *story = g_ptr_array_new_with_free_func ((GDestroyNotify) gw_sign_free);
    GwSignKind kind;
    do
        kind = (GwSignKind) g_rand_int_range (rand, 0, GW_N_SIGNS);
    while (!gw_sign_can_be_cause (kind));
    g_ptr_array_add (story, gw_sign_new (kind, random_side (rand), 100000 * MS, error_us, 0, "root"));
    for (guint i = 0; i < 60 && story->len < 8; i++) {
        GwSign *effect = make_effect (story, rand);
        if (effect != NULL)
            g_ptr_array_add (story, effect);
    }
    return story;
}

/* The destination's clock is off by any amount up to the error; each stamp comes a little late. */
static void
spoil_clocks (GPtrArray *story, GRand *rand, gint64 error_us)
{
    gint64 offset_us = (gint64) g_rand_int_range (rand, (gint32) -error_us, (gint32) error_us + 1);
    for (guint i = 0; i < story->len; i++) {
        GwSign *sign = story->pdata[i];
        sign->at_us += g_rand_int_range (rand, 0, GW_VERDICT_LATE_US / 2);
        if (sign->side == GW_SIDE_DESTINATION)
            sign->at_us += offset_us;
    }
}

static void
shuffle (GPtrArray *story, GRand *rand)
{
    for (guint i = story->len; i > 1; i--) {
        guint k = (guint) g_rand_int_range (rand, 0, (gint32) i);
        gpointer swapped = story->pdata[k];
        story->pdata[k] = story->pdata[i - 1];
        story->pdata[i - 1] = swapped;
    }
}

static void
test_stories (void)
{
    guint32 seed = g_test_rand_int ();
    g_autoptr (GRand) rand = g_rand_new_with_seed (seed);
    guint n_joined = 0;
    g_test_message ("seed %u", seed);
    for (guint i = 0; i < N_STORIES; i++) {
        static const gint64 errors_us[] = { 0, 100, 5 * MS, 1000 * MS };
        gint64 error_us = errors_us[g_rand_int_range (rand, 0, G_N_ELEMENTS (errors_us))];
        g_autoptr (GPtrArray) story = make_story (rand, error_us);
        const GwSign *root = story->pdata[0];
        n_joined += story->len > 1;
        spoil_clocks (story, rand, error_us);
        shuffle (story, rand);
        assert_first ("a story", story, root);
    }
    g_assert_cmpuint (n_joined, >, N_STORIES / 4);
}

/* --- the order of the story -------------------------------------------------------------------------------- */

static void
assert_ordered (const GPtrArray *signs)
{
    for (guint i = 0; i < signs->len; i++) {
        for (guint k = i + 1; k < signs->len; k++) {
            const GwSign *before = signs->pdata[i], *after = signs->pdata[k];
            gint64 room_us = before->error_us + after->error_us + GW_VERDICT_LATE_US;
            g_assert_cmpint (before->at_us, <=, after->at_us);
            g_assert_true (!gw_verdict_explains (after, before) ||
                           after->at_us - before->at_us > room_us);
        }
    }
}

static void
test_order (void)
{
    guint32 seed = g_test_rand_int ();
    g_autoptr (GRand) rand = g_rand_new_with_seed (seed);
    g_test_message ("seed %u", seed);
    for (guint i = 0; i < N_STORIES / 10; i++) {
        g_autoptr (GPtrArray) story = make_story (rand, 5 * MS);
        spoil_clocks (story, rand, 5 * MS);
        shuffle (story, rand);
        gw_verdict_order (story);
        assert_ordered (story);
    }
}

/* --- the table ------------------------------------------------------------------------------------------------ */

static gboolean
explains_somewhere (GwSignKind cause, GwSignKind effect, gint64 later_us)
{
    for (guint s = GW_SIDE_SOURCE; s <= GW_SIDE_LINK; s++) {
        for (guint t = GW_SIDE_SOURCE; t <= GW_SIDE_LINK; t++) {
            GwSign a = { .kind = cause, .side = (GwSide) s, .at_us = 0 };
            GwSign b = { .kind = effect, .side = (GwSide) t, .at_us = later_us };
            if (gw_verdict_explains (&a, &b))
                return TRUE;
        }
    }
    return FALSE;
}

static void
visit (GwSignKind kind, gint64 later_us, guint depth)
{
    g_assert_cmpuint (depth, <, GW_N_SIGNS);
    for (guint i = 0; i < GW_N_SIGNS; i++)
        if (i != kind && explains_somewhere (kind, (GwSignKind) i, later_us))
            visit ((GwSignKind) i, later_us, depth + 1);
}

/* Nothing is, by way of others, its own cause; every consequence has one. */
static void
test_table (void)
{
    for (guint i = 0; i < GW_N_SIGNS; i++) {
        gboolean has_cause = FALSE;
        visit ((GwSignKind) i, 0, 0);
        for (guint k = 0; k < GW_N_SIGNS; k++)
            has_cause |= explains_somewhere ((GwSignKind) k, (GwSignKind) i, 0);
        g_assert_true (has_cause || i == GW_SIGN_ABORT || i == GW_SIGN_OTHER);
    }
}

/* --- words --------------------------------------------------------------------------------------------------------- */

static void
test_words (void)
{
    static const struct {
        GwCause from;
        const char *words;
        GwCause to;
    } table[] = {
        { GW_CAUSE_LAUNCH_FAILED, "qemu: -chardev x: No space left on device", GW_CAUSE_DISK_FULL },
        { GW_CAUSE_LAUNCH_FAILED, "cannot set up guest memory 'pc.ram': Cannot allocate memory",
          GW_CAUSE_OUT_OF_MEMORY },
        { GW_CAUSE_LAUNCH_FAILED, "Could not open 'x': Permission denied", GW_CAUSE_PERMISSION },
        { GW_CAUSE_LAUNCH_FAILED, "Could not open 'x': No such file or directory",
          GW_CAUSE_LAUNCH_FAILED },
        { GW_CAUSE_START_REFUSED, "Failed to get \"write\" lock", GW_CAUSE_IMAGE_LOCKED },
        { GW_CAUSE_SOURCE_LOST, "killed by the kernel for want of memory", GW_CAUSE_OUT_OF_MEMORY },
        { GW_CAUSE_ABORTED, "Permission denied", GW_CAUSE_ABORTED },
        { GW_CAUSE_STATE_REJECTED, "Permission denied", GW_CAUSE_STATE_REJECTED },
        { GW_CAUSE_QEMU_DIED, NULL, GW_CAUSE_QEMU_DIED },
    };
    for (guint i = 0; i < G_N_ELEMENTS (table); i++)
        g_assert_cmpint (gw_words_refine_cause (table[i].from, table[i].words), ==, table[i].to);
    g_assert_true (gw_words_tell_stream_end ("qemu: load of migration failed: Input/output error"));
    g_assert_true (gw_words_tell_stream_end ("check_section_footer: Read section footer failed: -5\n"
                                             "load of migration failed: Invalid argument"));
    g_assert_false (gw_words_tell_stream_end ("qemu: load of migration failed: Invalid argument"));
    g_assert_false (gw_words_tell_stream_end (NULL));
    g_auto (GStrv) lines = gw_words_split ("a\n\n  b \nc\n", 2);
    g_assert_cmpuint (g_strv_length (lines), ==, 2);
    g_assert_cmpstr (lines[0], ==, "b");
    g_assert_cmpstr (lines[1], ==, "c");
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    g_test_add_func ("/verdict/orders", test_orders);
    g_test_add_func ("/verdict/stories", test_stories);
    g_test_add_func ("/verdict/order", test_order);
    g_test_add_func ("/verdict/table", test_table);
    g_test_add_func ("/verdict/words", test_words);
    return g_test_run ();
}
