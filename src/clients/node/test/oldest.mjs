// The oldest version of ioredis that the package takes.

import OldestIoredis from 'ioredis-oldest'

export { OldestIoredis }
