# The library and nothing else. `make images-context` gathers what this copies:
#
#   make images-context
#   docker build -f scripts/images/library.Dockerfile -t floodgate:0.1.0 target/images
#
# Take the library from it in three ways:
#
#   COPY --from=floodgate:0.1.0 /libfloodgate.so /usr/lib/redis/modules/
#   an init container, whose one program copies the library into a volume: /modules
#   a volume of Kubernetes 1.33 or newer: image: { reference: floodgate:0.1.0 }
#
# For servers that are built with musl (Alpine's): --build-arg LIBRARY=libfloodgate-x86_64-musl.so
FROM scratch
ARG LIBRARY=libfloodgate.so
COPY --chmod=755 ${LIBRARY} /libfloodgate.so
COPY --chmod=755 copy /copy
COPY LICENSE /LICENSE
# Any user can read them, and no program here needs root.
USER 65534:65534
ENTRYPOINT ["/copy"]
CMD ["/modules"]
