#!/usr/bin/env bash
# Checks dashboard.json against Grafana's own types of a dashboard, those of
# @grafana/schema, with TypeScript's compiler. Both are kept in .cache.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
folder=${FLOODGATE_CACHE:-$here/../../.cache}/dashboard
mkdir -p "$folder"
cd "$folder"
if [ ! -x node_modules/.bin/tsc ]; then
    echo '{"private": true}' >package.json
    npm install --silent --no-audit --no-fund --ignore-scripts @grafana/schema@11 typescript@5
fi
{
    cat <<'TYPES'
import type { AnnotationQuery, Dashboard } from "@grafana/schema";
// What annotations of Prometheus have besides: the schema leaves that to the source.
type OfPrometheus = AnnotationQuery & { expr: string; titleFormat?: string };
type Checked = Omit<Dashboard, "annotations"> & { annotations: { list: OfPrometheus[] } };
TYPES
    printf 'export const dashboard: Checked = '
    cat "$here/dashboard.json"
} >dashboard.ts
node_modules/.bin/tsc --noEmit --strict --skipLibCheck --moduleResolution bundler --module esnext --target es2022 dashboard.ts
echo "dashboard.json is a dashboard as $(node -p 'const p = require("./node_modules/@grafana/schema/package.json"); p.name + " " + p.version') has it"
