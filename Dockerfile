# syntax=docker/dockerfile:1

# For those who build with Docker: the same files as in the image of make image.

# Go cross-compiles: the build runs on the builder's own platform, whichever the
# image is for.
FROM --platform=$BUILDPLATFORM golang:1.26 AS build
WORKDIR /src
COPY . .
ARG TARGETOS TARGETARCH VERSION=dev
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    make rootfs PLATFORMS=$TARGETOS/$TARGETARCH VERSION=$VERSION

FROM scratch
COPY --from=build /src/bin/rootfs /
ARG VERSION=dev REVISION
LABEL org.opencontainers.image.title=kube-aws-iam-controller \
    org.opencontainers.image.version=$VERSION \
    org.opencontainers.image.revision=$REVISION \
    org.opencontainers.image.licenses=Apache-2.0
# A number, so that the kubelet sees that it is not root (runAsNonRoot).
USER 65532:65532
ENTRYPOINT ["/kube-aws-iam-controller"]
