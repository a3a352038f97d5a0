//! How much of the stack was ever used: it is painted before the first function is called (cortex-m-rt).
#![expect(unsafe_code, reason = "looks at the memory of the stack")]

use core::ptr::addr_of;

use shoal_gateway::Stack;

/// What cortex-m-rt paints with.
const PAINT: u32 = 0xcccc_cccc;

unsafe extern "C" {
    static _stack_start: u32;
    static _stack_end: u32;
}

/// The lowest address of the stack.
#[cfg(board = "an386")]
pub(crate) fn bottom() -> u32 {
    addr_of!(_stack_end) as usize as u32
}

/// The stack, and the most of it that was used.
pub(crate) fn used() -> Stack {
    let (top, bottom) = (addr_of!(_stack_start) as usize, addr_of!(_stack_end) as usize);
    let mut at = bottom;
    // SAFETY: within the stack's memory, which is there and aligned; what lies below what is in use changes nowhere.
    while at < top && unsafe { (at as *const u32).read_volatile() } == PAINT {
        at = at.saturating_add(4);
    }
    Stack { bytes: top.saturating_sub(bottom) as u32, bytes_max: top.saturating_sub(at) as u32 }
}
