//! The allocator: the server's own, so that its memory figures, `maxmemory` and defragmentation
//! include what the module holds.

use redis_module::raw;
use std::alloc::{GlobalAlloc, Layout, System};
use std::ffi::c_void;

/// Allocates with the server's allocator in a loaded module, and with the system's in programs that
/// only link the library (tests, tools).
///
/// The two never mix. The pointers are set before a loaded module allocates for the first time, and
/// are never set in the other programs.
#[derive(Debug)]
pub struct ServerAlloc;

/// The alignment in bytes that jemalloc and every C library's malloc guarantee for blocks of this
/// size and larger.
const NATURAL_ALIGN: usize = 16;

/// The distance in bytes from the start of a server's block to the start of our part of it.
///
/// A server that is built with musl's malloc cannot ask it for the size of a block. It keeps that
/// size in front of each block, so that its blocks begin 8 bytes after a multiple of 16. Values
/// that need an alignment of 16 (a `u128`, an exception that is unwound) would crash there.
#[cfg(target_env = "musl")]
fn offset() -> usize {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static OFFSET: AtomicUsize = AtomicUsize::new(UNKNOWN);
    const UNKNOWN: usize = usize::MAX;

    let known = OFFSET.load(Ordering::Relaxed);
    if known != UNKNOWN {
        return known;
    }
    // SAFETY: the pointers, when set, are the server's malloc and free.
    let found = match unsafe { (raw::RedisModule_Alloc, raw::RedisModule_Free) } {
        (Some(alloc), Some(free)) => {
            // SAFETY: as above; what is allocated is freed, and never read.
            unsafe {
                let block = alloc(NATURAL_ALIGN);
                free(block);
                block.addr() % NATURAL_ALIGN
            }
        }
        _ => 0,
    };
    OFFSET.store(found, Ordering::Relaxed);
    found
}

/// The distance in bytes from the start of a server's block to the start of our part: 0, because
/// the server asks this C library, or jemalloc, for the size of a block.
#[cfg(not(target_env = "musl"))]
#[inline]
const fn offset() -> usize {
    0
}

/// Our part of a server's block. Null stays null.
///
/// # Safety
/// A block that is not null is longer than [`offset`] bytes.
#[inline]
unsafe fn ours(block: *mut c_void) -> *mut u8 {
    // SAFETY: the caller's contract.
    if block.is_null() { std::ptr::null_mut() } else { unsafe { block.cast::<u8>().add(offset()) } }
}

/// The server's block that [`ours`] returned a part of.
///
/// # Safety
/// `ptr` came from [`ours`].
#[inline]
unsafe fn block(ptr: *mut u8) -> *mut c_void {
    // SAFETY: the caller's contract.
    unsafe { ptr.sub(offset()).cast() }
}

// SAFETY: memory comes from the server's malloc or from `System`, both valid allocators. An
// alignment that the server's malloc does not guarantee is answered with null.
unsafe impl GlobalAlloc for ServerAlloc {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the pointer, when set, is the server's malloc.
        match unsafe { raw::RedisModule_Alloc } {
            Some(_) if layout.align() > NATURAL_ALIGN => std::ptr::null_mut(),
            // SAFETY: as above; a layout is shorter than `isize::MAX`, so the sum does not
            // overflow.
            Some(alloc) => unsafe { ours(alloc(layout.size() + offset())) },
            // SAFETY: the caller's contract is `System`'s.
            None => unsafe { System.alloc(layout) },
        }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: the pointer, when set, is the server's free.
        match unsafe { raw::RedisModule_Free } {
            // SAFETY: `ptr` came from `alloc` above, hence from the same allocator.
            Some(free) => unsafe { free(block(ptr)) },
            // SAFETY: the caller's contract is `System`'s.
            None => unsafe { System.dealloc(ptr, layout) },
        }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the pointer, when set, is the server's realloc.
        match unsafe { raw::RedisModule_Realloc } {
            // SAFETY: `ptr` came from `alloc` above, hence from the same allocator.
            Some(realloc) => unsafe { ours(realloc(block(ptr), new_size + offset())) },
            // SAFETY: the caller's contract is `System`'s.
            None => unsafe { System.realloc(ptr, layout, new_size) },
        }
    }
}
