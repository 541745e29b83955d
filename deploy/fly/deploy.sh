#!/usr/bin/env bash
# Updates all regions with one image, one after the other: deploy.sh LABEL REGION...
set -euo pipefail
label=${1:?label of the image}
shift
[ $# -gt 0 ] || { echo "name the regions" >&2; exit 2; }
app=$(sed -n 's/^app = "\(.*\)".*/\1/p' fly.toml)

fly deploy --build-only --push --image-label "$label"
for region in "$@"; do
  fly deploy --image "registry.fly.io/$app:$label" --regions "$region" --strategy rolling --wait-timeout 10m
  godwit status --wait --timeout 15m --endpoint "https://$app.fly.dev"
done
