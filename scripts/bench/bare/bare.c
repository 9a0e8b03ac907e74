/* The least that a limiter's module can do, for `make bench`: what lies above it is
 * the limiter's own.
 *
 *   BARE.TAKE key ms   counts one up in a value of a type of its own, lets the key
 *                      expire in `ms` milliseconds, and answers six integers, as
 *                      RL.ACQUIRE does
 *
 * It parses no limit, reads no clock, sends no effect and saves nothing: a server
 * that runs it takes no snapshot. The declarations are the few that it takes, for a
 * server hands its functions out by name. */

#include <stddef.h>
#include <stdint.h>

typedef struct Ctx Ctx;
typedef struct String String;
typedef struct Key Key;
typedef struct Type Type;
typedef int (*Command)(Ctx *, String **, int);
/* Version 1 of the server's table of methods. */
typedef struct {
    uint64_t version;
    void *load, *save, *rewrite, *usage, *digest;
    void (*free)(void *);
} Methods;
/* As large as a bucket: when it is full again, and its limits. */
typedef struct {
    int64_t taken, limits;
} Value;

static int (*CreateCommand)(Ctx *, const char *, Command, const char *, int, int, int);
static int (*SetModuleAttribs)(Ctx *, const char *, int, int);
static Type *(*CreateDataType)(Ctx *, const char *, int, Methods *);
static Key *(*OpenKey)(Ctx *, String *, int);
static void (*CloseKey)(Key *);
static Type *(*ModuleTypeGetType)(Key *);
static void *(*ModuleTypeGetValue)(Key *);
static int (*ModuleTypeSetValue)(Key *, Type *, void *);
static int (*SetExpire)(Key *, long long);
static int (*StringToLongLong)(const String *, long long *);
static int (*ReplyWithArray)(Ctx *, long);
static int (*ReplyWithLongLong)(Ctx *, long long);
static int (*ReplyWithError)(Ctx *, const char *);
static void *(*Calloc)(size_t, size_t);
static void (*Free)(void *);

enum { READ = 1, WRITE = 2 };

static Type *type;

static int take(Ctx *ctx, String **argv, int argc) {
    long long ms;
    if (argc != 3 || StringToLongLong(argv[2], &ms)) return ReplyWithError(ctx, "ERR BARE.TAKE key ms");
    Key *key = OpenKey(ctx, argv[1], READ | WRITE);
    Value *value = ModuleTypeGetType(key) == type ? ModuleTypeGetValue(key) : NULL;
    if (value == NULL) {
        value = Calloc(1, sizeof *value);
        ModuleTypeSetValue(key, type, value);
    }
    value->taken++;
    SetExpire(key, ms);
    CloseKey(key);
    ReplyWithArray(ctx, 6);
    for (int i = 0; i < 6; i++) ReplyWithLongLong(ctx, i == 0 ? 1 : value->taken);
    return 0;
}

#define FIND(name)                                                              \
    if (get("RedisModule_" #name, (void *)&name) != 0) return 1

int RedisModule_OnLoad(Ctx *ctx, String **argv, int argc) {
    (void)argv, (void)argc;
    int (*get)(const char *, void *) = (int (*)(const char *, void *))(uintptr_t)((void **)ctx)[0];
    FIND(CreateCommand);
    FIND(SetModuleAttribs);
    FIND(CreateDataType);
    FIND(OpenKey);
    FIND(CloseKey);
    FIND(ModuleTypeGetType);
    FIND(ModuleTypeGetValue);
    FIND(ModuleTypeSetValue);
    FIND(SetExpire);
    FIND(StringToLongLong);
    FIND(ReplyWithArray);
    FIND(ReplyWithLongLong);
    FIND(ReplyWithError);
    FIND(Calloc);
    FIND(Free);
    SetModuleAttribs(ctx, "bare", 1, 1);
    Methods methods = {.version = 1, .free = Free};
    type = CreateDataType(ctx, "bare-take", 0, &methods);
    if (type == NULL) return 1;
    return CreateCommand(ctx, "bare.take", take, "write deny-oom fast", 1, 1, 1);
}
