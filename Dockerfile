# onnx-overparam on Debian slim, for CI and servers: no root, and the file system may be read-only.
#   docker build -t onnx-overparam .
#   docker run --rm --read-only --tmpfs /tmp -v "$PWD:/work" -u "$(id -u):$(id -g)" onnx-overparam rank-report model.onnx
FROM node:22-bookworm-slim AS build
WORKDIR /src
COPY . .
# .npmrc keeps install scripts from running: onnxruntime-node's would download CUDA libraries.
RUN npm ci && npm run build && npm pack --pack-destination /tmp

FROM node:22-bookworm-slim
COPY --from=build /tmp/onnx-overparam-*.tgz /tmp/package.tgz
RUN npm install --global --ignore-scripts --no-audit --no-fund /tmp/package.tgz \
  && rm -rf /tmp/package.tgz /root/.npm
ENV NODE_ENV=production HOME=/tmp
USER node
WORKDIR /work
ENTRYPOINT ["onnx-overparam"]
CMD ["--help"]
