// Builds dist: CommonJS of the sources, and ES modules that give the same things. A process that loads
// both has each class once, so that what one of them made is known to the other.

import { execFileSync } from 'node:child_process'
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { basename, dirname, join } from 'node:path'

const here = import.meta.dirname
const require = createRequire(import.meta.url)
const tsc = join(dirname(require.resolve('typescript/package.json')), 'bin', 'tsc')
const folder = (name, type) => {
  const path = join(here, 'dist', name)
  mkdirSync(path, { recursive: true })
  writeFileSync(join(path, 'package.json'), `{ "type": "${type}" }\n`)
  return path
}

rmSync(join(here, 'dist'), { recursive: true, force: true })
const cjs = folder('cjs', 'commonjs')
const options = ['--module', 'commonjs', '--moduleResolution', 'bundler']
execFileSync(process.execPath, [tsc, '-p', here, '--outDir', cjs, ...options], { stdio: 'inherit' })

const esm = folder('esm', 'module')
const { exports } = JSON.parse(readFileSync(join(here, 'package.json'), 'utf8'))
for (const entry of Object.values(exports)) {
  const file = basename(entry.require.default)
  const names = Object.keys(require(join(cjs, file))).join(', ')
  writeFileSync(join(esm, file), `export { ${names} } from '../cjs/${file}'\n`)
  writeFileSync(join(esm, file.replace(/js$/, 'd.ts')), `export * from '../cjs/${file}'\n`)
}
