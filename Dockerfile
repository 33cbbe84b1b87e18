# syntax=docker/dockerfile:1

# Go cross-compiles: the build runs on the builder's own platform, whichever the
# image is for.
FROM --platform=$BUILDPLATFORM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod go mod download
COPY . .
ARG TARGETOS TARGETARCH VERSION=dev
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH \
    go build -trimpath -ldflags "-s -w -X main.version=$VERSION" -o /kube-aws-iam-controller ./cmd/kube-aws-iam-controller

FROM gcr.io/distroless/static:nonroot
COPY --from=build /kube-aws-iam-controller /kube-aws-iam-controller
# A number, so that the kubelet can tell it is not root (runAsNonRoot).
USER 65532:65532
ENTRYPOINT ["/kube-aws-iam-controller"]
