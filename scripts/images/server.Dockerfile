# A server with the module. `make images-context` gathers what this copies:
#
#   make images-context
#   docker build -f scripts/images/server.Dockerfile -t floodgate-valkey:0.1.0 target/images
#   docker run --rm -p 127.0.0.1:6379:6379 floodgate-valkey:0.1.0
#
# For Redis: --build-arg SERVER=redis:8
# For an image made of Alpine: --build-arg SERVER=valkey/valkey:9-alpine
#                              --build-arg LIBRARY=libfloodgate-x86_64-musl.so
ARG SERVER=valkey/valkey:9
FROM ${SERVER}
ARG LIBRARY=libfloodgate.so
COPY --chmod=755 ${LIBRARY} /usr/lib/redis/modules/libfloodgate.so
# Both official images start their server with arguments that begin with a dash.
# More settings stand behind these, or in a configuration file with its own line
# loadmodule: then give that file in place of these.
CMD ["--loadmodule", "/usr/lib/redis/modules/libfloodgate.so"]
