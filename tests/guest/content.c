/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "guest.h"

#include <stdio.h>
#include <string.h>

/*
 * A page with a header begins with five words: address, seed, index and generation, kind, and a
 * checksum over everything else.  The checksum is not needed to find a bad page, since the whole
 * content is made again and compared; it tells what kind of bad it is: an old page agrees with
 * itself, a torn one does not.
 */
enum { W_ADDRESS, W_SEED, W_NUMBERS, W_KIND, W_CHECKSUM, W_PAYLOAD };

#define PAYLOAD_WORDS (GUEST_PAGE_WORDS - W_PAYLOAD)
#define SMALL_CHANGES 16 /* words of a page of the small and heap kinds that differ between generations */
#define SMALL_STRIDE (PAYLOAD_WORDS / SMALL_CHANGES)
#define SUM_FACTOR 0x9e3779b97f4a7c15u /* odd */

/* Entropy of text: which of 256 words follows.  Letters and word lengths are near those of English
 * prose, so that general compressors make about a third of it. */
static const char vocabulary[] =
    "the of and to in that it was he for as with his on be at by had not are but from or have an "
    "they which one you were her all she there would their we him been has when who will more no "
    "if out so said what up its about into than them can only other new some could time these two "
    "may then do first any my now such like our over man me even most made after also did many "
    "before must through back years where much your way well down should because each just those "
    "people mister how too little state good very make world still own see men work long get here "
    "between both life being under never day same another know while last might us great old year "
    "off come since against go came right used take three states himself few house use during "
    "without again place american around however home small found missus thought went say part "
    "once general high upon school every war united left number does course until always away "
    "something fact though water less public put think almost hand enough far took head yet "
    "government system better set told nothing night end why called eyes find going look asked "
    "later knew point next program city business give group toward young days let room word "
    "president side social given present several order national possible rather second face per "
    "among form often things looked early white case large big become within felt saw turned "
    "until children voice godwit flight tide marsh winter summer shore north south river bird ";

static const char *const kind_names[GUEST_N_KINDS] = { "zero", "small", "text", "random", "heap" };

const char *
guest_kind_name (GuestKind kind)
{
    return kind < GUEST_N_KINDS ? kind_names[kind] : "unknown";
}

GuestKind
guest_kind_from_name (const char *name)
{
    for (int i = 0; i < GUEST_N_KINDS; i++)
        if (strcmp (name, kind_names[i]) == 0)
            return (GuestKind) i;
    return GUEST_N_KINDS;
}

/* xorshift64: three shifts are cheap under emulation and good enough to be incompressible. */
uint64_t
guest_random (uint64_t *state)
{
    uint64_t x = *state;

    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    *state = x;
    return x;
}

/* Spreads a number over all bits (the finaliser of splitmix64); never 0. */
static uint64_t
mix (uint64_t x)
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    x ^= x >> 31;
    return x != 0 ? x : 1;
}

static uint64_t
page_seed (const GuestPage *page, uint32_t generation)
{
    return mix (page->seed ^ mix (((uint64_t) page->index << 32) | generation));
}

static void
make_random (uint64_t state, uint64_t payload[static PAYLOAD_WORDS])
{
    for (int i = 0; i < PAYLOAD_WORDS; i++)
        payload[i] = guest_random (&state);
}

/* What programs keep in tables: of eight words three as if drawn by lot (keys, digests, measured values), one
 * a pointer into the same few MiB, four small numbers.  zstd's level 1 leaves 0.57 of it. */
static void
make_heap (uint64_t state, uint64_t payload[static PAYLOAD_WORDS])
{
    for (int i = 0; i < PAYLOAD_WORDS; i++) {
        uint64_t word = guest_random (&state);

        if (i % 8 == 1)
            word = 0x00007f5a40000000u | (word & 0xfffff0);
        else if (i % 8 == 3 || i % 8 == 4 || i % 8 >= 6)
            word &= 0xff;
        payload[i] = word;
    }
}

/* The words of the small and heap kinds that differ from generation to generation are always the same ones. */
static int
small_place (const GuestPage *page, int i)
{
    return W_PAYLOAD + i * SMALL_STRIDE + (int) (page->index % SMALL_STRIDE);
}

static void
make_small_changes (const GuestPage *page, uint64_t words[static GUEST_PAGE_WORDS])
{
    uint64_t state = page_seed (page, page->generation);

    for (int i = 0; i < SMALL_CHANGES; i++)
        words[small_place (page, i)] = guest_random (&state);
}

/* Where each word of the vocabulary begins; made once, before there are threads. */
static struct {
    const char *start;
    uint8_t len;
} words_of[256];

__attribute__ ((constructor)) static void
index_vocabulary (void)
{
    const char *p = vocabulary;

    for (int i = 0; i < 256; i++) {
        size_t len;
        if (*p == '\0')
            p = vocabulary;
        len = strcspn (p, " ") + 1;
        words_of[i].start = p;
        words_of[i].len = (uint8_t) len;
        p += len;
    }
}

static void
make_text (uint64_t state, uint64_t payload[static PAYLOAD_WORDS])
{
    char *out = (char *) payload;
    size_t left = PAYLOAD_WORDS * 8;

    for (;;) {
        uint64_t choice = guest_random (&state);
        for (int i = 0; i < 8; i++, choice >>= 8) {
            size_t len = words_of[choice & 255].len;
            if (len > left)
                len = left;
            memcpy (out, words_of[choice & 255].start, len);
            out += len;
            left -= len;
            if (left == 0)
                return;
        }
    }
}

/* Linear, so that a few new words need not all others. */
static uint64_t
weigh (int place, uint64_t word)
{
    return word * (SUM_FACTOR * (2 * (uint64_t) place + 1));
}

static uint64_t
checksum (const uint64_t words[static GUEST_PAGE_WORDS])
{
    uint64_t sum = 1;

    for (int i = 0; i < GUEST_PAGE_WORDS; i++)
        if (i != W_CHECKSUM)
            sum += weigh (i, words[i]);
    return sum;
}

void
guest_content_make (const GuestPage *page, uint64_t words[static GUEST_PAGE_WORDS])
{
    uint64_t *payload = words + W_PAYLOAD;

    if (page->kind == GUEST_ZERO)
        memset (words, 0, GUEST_PAGE_BYTES);
    if (page->kind == GUEST_ZERO && page->generation % 2 == 0)
        return;
    words[W_ADDRESS] = page->address;
    words[W_SEED] = page->seed;
    words[W_NUMBERS] = ((uint64_t) page->index << 32) | page->generation;
    words[W_KIND] = page->kind + 1u; /* never 0 */
    if (page->kind == GUEST_SMALL)
        make_random (page_seed (page, 0), payload);
    else if (page->kind == GUEST_HEAP)
        make_heap (page_seed (page, 0), payload);
    else if (page->kind == GUEST_TEXT)
        make_text (page_seed (page, page->generation), payload);
    else if (page->kind == GUEST_RANDOM)
        make_random (page_seed (page, page->generation), payload);
    if (guest_content_is_small (page->kind))
        make_small_changes (page, words);
    words[W_CHECKSUM] = checksum (words);
}

bool
guest_content_is_small (GuestKind kind)
{
    return kind == GUEST_SMALL || kind == GUEST_HEAP;
}

void
guest_content_step (const GuestPage *page, uint64_t words[static GUEST_PAGE_WORDS])
{
    uint64_t state = page_seed (page, page->generation), sum = words[W_CHECKSUM];
    uint64_t numbers = ((uint64_t) page->index << 32) | page->generation;

    for (int i = 0; i < SMALL_CHANGES; i++) {
        int place = small_place (page, i);
        uint64_t word = guest_random (&state);

        sum += weigh (place, word - words[place]);
        words[place] = word;
    }
    words[W_CHECKSUM] = sum + weigh (W_NUMBERS, numbers - words[W_NUMBERS]);
    words[W_NUMBERS] = numbers;
}

static bool
is_zero (const uint64_t words[static GUEST_PAGE_WORDS])
{
    for (int i = 0; i < GUEST_PAGE_WORDS; i++)
        if (words[i] != 0)
            return false;
    return true;
}

/* One word for what became of a page. */
static const char *
verdict (const GuestPage *page, const uint64_t found[static GUEST_PAGE_WORDS])
{
    if (is_zero (found))
        return "zero";
    if (checksum (found) != found[W_CHECKSUM])
        return "torn";
    if (found[W_ADDRESS] != page->address || found[W_NUMBERS] >> 32 != page->index)
        return "foreign";
    return (uint32_t) found[W_NUMBERS] < page->generation ? "old" : "other";
}

void
guest_content_explain (const GuestPage *page, const uint64_t wanted[static GUEST_PAGE_WORDS],
                       const uint64_t found[static GUEST_PAGE_WORDS], char *text, size_t size)
{
    unsigned first = 0, differ = 0;

    for (unsigned i = GUEST_PAGE_WORDS; i-- > 0;) {
        if (wanted[i] != found[i]) {
            first = i;
            differ++;
        }
    }
    (void) snprintf (text, size,
                     "page=%u address=%#llx is=%s want=%s/%u found=%s/%u page=%llu words=%u first=%u "
                     "%016llx!=%016llx",
                     page->index, (unsigned long long) page->address, verdict (page, found),
                     guest_kind_name (page->kind), page->generation,
                     guest_kind_name ((GuestKind) (found[W_KIND] - 1)),
                     (uint32_t) found[W_NUMBERS], (unsigned long long) (found[W_NUMBERS] >> 32),
                     differ, first, (unsigned long long) found[first],
                     (unsigned long long) wanted[first]);
}
