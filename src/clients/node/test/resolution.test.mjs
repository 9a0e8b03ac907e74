// A compiler that knows nothing of `exports` finds the types of each plug-in.

import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { copyFileSync, mkdtempSync, mkdirSync, readdirSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))

test('moduleResolution node', (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'floodgate-types-'))
  t.after(() => rmSync(dir, { recursive: true }))
  // As npm installs it, beside what it needs.
  const modules = join(dir, 'node_modules')
  mkdirSync(modules)
  for (const name of readdirSync(join(root, 'node_modules'))) {
    symlinkSync(join(root, 'node_modules', name), join(modules, name))
  }
  symlinkSync(root, join(modules, 'floodgate-redis'))
  copyFileSync(join(root, 'test', 'types.cts'), join(dir, 'types.ts'))
  const tsc = join(root, 'node_modules', 'typescript-oldest', 'bin', 'tsc')
  const options =
    '--noEmit --strict --skipLibCheck --esModuleInterop --target es2022 --lib es2022 --module commonjs'
  const args = [...options.split(' '), '--moduleResolution', 'node', '--types', 'node', 'types.ts']
  const { status, stdout } = spawnSync(process.execPath, [tsc, ...args], { cwd: dir, encoding: 'utf8' })
  assert.equal(status, 0, stdout)
})
