/* A server that lacks a function of the module API, which no supported server does:
 *
 *   MODULE LOAD lacking.so library function [argument ...]
 *
 * loads the library as the server would, but answers that it has no such function. */

#include <dlfcn.h>
#include <stdint.h>
#include <string.h>

typedef struct Ctx Ctx;
typedef struct String String;
typedef int (*GetApi)(const char *name, void *target);
typedef int (*OnLoad)(Ctx *, String **argv, int argc);

static GetApi of_server;
static const char *lacking;

static int get(const char *name, void *target) {
    return strcmp(name, lacking) == 0 ? 1 : of_server(name, target);
}

int RedisModule_OnLoad(Ctx *ctx, String **argv, int argc) {
    const char *(*text)(const String *, size_t *);
    /* The first word of a context is the function that hands out the others. */
    void **hands_out = (void **)ctx;
    of_server = (GetApi)(uintptr_t)*hands_out;
    if (argc < 2 || of_server("RedisModule_StringPtrLen", (void *)&text)) return 1;
    void *library = dlopen(text(argv[0], NULL), RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) return 1;
    lacking = text(argv[1], NULL);
    OnLoad load = (OnLoad)(uintptr_t)dlsym(library, "RedisModule_OnLoad");
    *hands_out = (void *)(uintptr_t)get;
    int status = load == NULL ? 1 : load(ctx, argv + 2, argc - 2);
    *hands_out = (void *)(uintptr_t)of_server;
    if (status != 0) dlclose(library);
    return status;
}
