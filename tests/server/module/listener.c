/* A module of somebody else: it listens to keyspace events and answers some of
 * them with a command, as soon as the server tells it.
 *
 *   LISTENER.ON event times word [word ...]   runs the command at this event, so often
 *   LISTENER.OFF                              forgets all that and what was heard
 *   LISTENER.HEARD                            "event key" of each event, and "! text" of each
 *                                             error that a command answered, in order
 *
 * The event "*" stands for every event that a command of Floodgate has. "removed" is the server event that a key is
 * about to lose its value (7.2 and later); it is told in the middle of that.
 * The declarations are the few that it takes: a server hands its functions out by name. */

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

typedef struct Ctx Ctx;
typedef struct String String;
typedef struct Reply Reply;
typedef struct {
    uint64_t id, version;
} Event;
typedef int (*Command)(Ctx *, String **, int);
typedef int (*OnKey)(Ctx *, int type, const char *event, String *key);
typedef void (*OnServer)(Ctx *, Event, uint64_t sub, void *data);

static int (*CreateCommand)(Ctx *, const char *, Command, const char *, int, int, int);
static void (*SetModuleAttribs)(Ctx *, const char *, int, int);
static int (*SubscribeToKeyspaceEvents)(Ctx *, int, OnKey);
static int (*SubscribeToServerEvent)(Ctx *, Event, OnServer);
static Reply *(*Call)(Ctx *, const char *, const char *, ...);
static int (*CallReplyType)(Reply *);
static const char *(*CallReplyStringPtr)(Reply *, size_t *);
static void (*FreeCallReply)(Reply *);
static const char *(*StringPtrLen)(const String *, size_t *);
static String *(*CreateString)(Ctx *, const char *, size_t);
static void (*FreeString)(Ctx *, String *);
static int (*StringToLongLong)(const String *, long long *);
static int (*ReplyWithArray)(Ctx *, long);
static int (*ReplyWithStringBuffer)(Ctx *, const char *, size_t);
static int (*ReplyWithSimpleString)(Ctx *, const char *);
static int (*ReplyWithError)(Ctx *, const char *);

enum { GENERIC = 1 << 2, EXPIRED = 1 << 8, KEY_MISS = 1 << 11, MODULE = 1 << 13, REPLY_ERROR = 1 };
enum { RULES = 16, WORDS = 32, LINES = 4096 };

typedef struct {
    char event[64];
    long long times;
    int words;
    char *word[WORDS];
    size_t length[WORDS];
} Rule;

static Rule rules[RULES];
static int rule_count;
static char *heard[LINES];
static int heard_count;
/* Its own commands tell it nothing. */
static int busy;

static void note(const char *start, const char *rest, size_t length) {
    if (heard_count == LINES) return;
    char *line = malloc(strlen(start) + length + 2);
    size_t at = strlen(start);
    memcpy(line, start, at);
    line[at] = ' ';
    memcpy(line + at + 1, rest, length);
    line[at + 1 + length] = 0;
    heard[heard_count++] = line;
}

static void answer(Ctx *ctx, const char *event) {
    for (int i = 0; i < rule_count; i++) {
        Rule *rule = &rules[i];
        int any = !strcmp(rule->event, "*") && (!strncmp(event, "rl.", 3) || !strncmp(event, "cb.", 3) ||
                                                !strncmp(event, "cl.", 3) || !strcmp(event, "del"));
        if (rule->times == 0 || !(any || !strcmp(rule->event, event))) continue;
        rule->times--;
        String *args[WORDS];
        for (int w = 1; w < rule->words; w++) args[w - 1] = CreateString(NULL, rule->word[w], rule->length[w]);
        Reply *reply = Call(ctx, rule->word[0], "!v", args, (size_t)(rule->words - 1));
        if (reply == NULL) {
            note("!", rule->word[0], strlen(rule->word[0]));
        } else {
            if (CallReplyType(reply) == REPLY_ERROR) {
                size_t length = 0;
                const char *text = CallReplyStringPtr(reply, &length);
                note("!", text, length);
            }
            FreeCallReply(reply);
        }
        for (int w = 1; w < rule->words; w++) FreeString(NULL, args[w - 1]);
    }
}

static int on_key(Ctx *ctx, int type, const char *event, String *key) {
    (void)type;
    if (busy) return 0;
    busy = 1;
    size_t length;
    const char *name = StringPtrLen(key, &length);
    note(event, name, length);
    answer(ctx, event);
    busy = 0;
    return 0;
}

static void on_removed(Ctx *ctx, Event event, uint64_t sub, void *data) {
    (void)event, (void)sub, (void)data;
    if (busy) return;
    busy = 1;
    answer(ctx, "removed");
    busy = 0;
}

static int off(Ctx *ctx, String **argv, int argc) {
    (void)argv, (void)argc;
    for (int i = 0; i < rule_count; i++)
        for (int w = 0; w < rules[i].words; w++) free(rules[i].word[w]);
    for (int i = 0; i < heard_count; i++) free(heard[i]);
    rule_count = heard_count = 0;
    return ReplyWithSimpleString(ctx, "OK");
}

static int on(Ctx *ctx, String **argv, int argc) {
    long long times;
    if (argc < 4 || argc - 3 > WORDS || rule_count == RULES || StringToLongLong(argv[2], &times))
        return ReplyWithError(ctx, "ERR LISTENER.ON event times word [word ...]");
    Rule *rule = &rules[rule_count++];
    snprintf(rule->event, sizeof rule->event, "%s", StringPtrLen(argv[1], NULL));
    rule->times = times;
    rule->words = argc - 3;
    for (int w = 0; w < rule->words; w++) {
        const char *text = StringPtrLen(argv[w + 3], &rule->length[w]);
        rule->word[w] = malloc(rule->length[w] + 1);
        memcpy(rule->word[w], text, rule->length[w]);
        rule->word[w][rule->length[w]] = 0;
    }
    return ReplyWithSimpleString(ctx, "OK");
}

static int show(Ctx *ctx, String **argv, int argc) {
    (void)argv, (void)argc;
    ReplyWithArray(ctx, heard_count);
    for (int i = 0; i < heard_count; i++) ReplyWithStringBuffer(ctx, heard[i], strlen(heard[i]));
    return 0;
}

#define FIND(name)                                                              \
    if (get("RedisModule_" #name, (void *)&name) != 0) return 1

int RedisModule_OnLoad(Ctx *ctx, String **argv, int argc) {
    (void)argv, (void)argc;
    int (*get)(const char *, void *) = (int (*)(const char *, void *))(uintptr_t)((void **)ctx)[0];
    FIND(CreateCommand);
    FIND(SetModuleAttribs);
    FIND(SubscribeToKeyspaceEvents);
    FIND(SubscribeToServerEvent);
    FIND(Call);
    FIND(CallReplyType);
    FIND(CallReplyStringPtr);
    FIND(FreeCallReply);
    FIND(StringPtrLen);
    FIND(CreateString);
    FIND(FreeString);
    FIND(StringToLongLong);
    FIND(ReplyWithArray);
    FIND(ReplyWithStringBuffer);
    FIND(ReplyWithSimpleString);
    FIND(ReplyWithError);
    SetModuleAttribs(ctx, "listener", 1, 1);
    if (CreateCommand(ctx, "listener.on", on, "fast", 0, 0, 0)) return 1;
    if (CreateCommand(ctx, "listener.off", off, "fast", 0, 0, 0)) return 1;
    if (CreateCommand(ctx, "listener.heard", show, "fast", 0, 0, 0)) return 1;
    SubscribeToKeyspaceEvents(ctx, GENERIC | EXPIRED | KEY_MISS | MODULE, on_key);
    /* Where there is no such event the server says so, and that is all. */
    SubscribeToServerEvent(ctx, (Event){17, 1}, on_removed);
    return 0;
}
