//! The boards: where their devices are, and what is done before the first task. QEMU's `mps2-an386` (Cortex-M4) and
//! `mps2-an505` (Cortex-M33, in its secure state).
#![expect(unsafe_code, reason = "registers, exceptions and interrupts of the machine")]

use cortex_m::interrupt::InterruptNumber;
use cortex_m::peripheral::{NVIC, Peripherals, SCB, syst::SystClkSource};
use cortex_m_rt::exception;

use crate::line::{AGENT, VEHICLE};
use crate::ticks;

/// What differs from board to board.
#[cfg(board = "an386")]
mod here {
    pub(crate) const CLOCK_HZ: u32 = 25_000_000;
    pub(crate) const UARTS: [usize; 2] = [0x4000_4000, 0x4000_5000];
    /// Of the receiver; that of the sender is one more.
    pub(crate) const UART_IRQS: [u16; 2] = [0, 2];
    pub(crate) const FLASH: usize = 0x2100_0000;
}

#[cfg(board = "an505")]
mod here {
    pub(crate) const CLOCK_HZ: u32 = 20_000_000;
    pub(crate) const UARTS: [usize; 2] = [0x5020_0000, 0x5020_1000];
    pub(crate) const UART_IRQS: [u16; 2] = [32, 34];
    pub(crate) const FLASH: usize = 0x8000_0000;
}

pub(crate) use here::FLASH;
use here::{CLOCK_HZ, UART_IRQS, UARTS};

const BAUD: u32 = 115_200;

/// Bytes below the stack that nobody may touch: no frame is so large that it reaches beyond.
#[cfg(board = "an386")]
const BELOW_BYTES_LOG2: u32 = 24;

/// An interrupt by its number.
#[derive(Clone, Copy)]
struct Irq(u16);

// SAFETY: the numbers are those of the board, below what its controller has, and never change.
unsafe impl InterruptNumber for Irq {
    fn number(self) -> u16 {
        self.0
    }
}

/// Starts the clock and both lines.
pub(crate) fn start() {
    let Some(mut peripherals) = Peripherals::take() else { return };
    guard_stack(&mut peripherals);
    let systick = &mut peripherals.SYST;
    systick.set_clock_source(SystClkSource::Core);
    systick.set_reload(CLOCK_HZ / ticks::HZ - 1);
    systick.clear_current();
    systick.enable_counter();
    systick.enable_interrupt();
    AGENT.uart.start(CLOCK_HZ / BAUD);
    VEHICLE.uart.start(CLOCK_HZ / BAUD);
    for irq in UART_IRQS {
        for irq in [irq, irq.saturating_add(1)] {
            // SAFETY: the handler is there, and no critical section is made by masking single interrupts.
            unsafe { NVIC::unmask(Irq(irq)) };
        }
    }
}

/// A stack that is used up faults, and the fault resets the machine: it never grows into data.
#[cfg(board = "an386")]
fn guard_stack(peripherals: &mut Peripherals) {
    let mpu = &peripherals.MPU;
    // SAFETY: one region, of no access, over 16 MiB below the memory, where nothing is; all else is as it was without the
    // unit (PRIVDEFENA). Within a hard fault it is off.
    unsafe {
        mpu.rnr.write(0);
        mpu.rbar.write(crate::stack::bottom().wrapping_sub(1 << BELOW_BYTES_LOG2));
        mpu.rasr.write((1 << 28) | ((BELOW_BYTES_LOG2 - 1) << 1) | 1);
        mpu.ctrl.write(0b101);
    }
    cortex_m::asm::dsb();
    cortex_m::asm::isb();
}

/// The stack's limit is set before the first instruction (cortex-m-rt). A hard fault may go beyond it, to reset.
#[cfg(board = "an505")]
fn guard_stack(peripherals: &mut Peripherals) {
    const STKOFHFNMIGN: u32 = 1 << 10;
    // SAFETY: the bit only lets handlers of hard faults ignore the stack's limit.
    unsafe { peripherals.SCB.ccr.modify(|ccr| ccr | STKOFHFNMIGN) };
}

#[exception]
fn SysTick() {
    ticks::tick();
}

#[exception]
unsafe fn DefaultHandler(irq: i16) {
    let [agent, vehicle] = UART_IRQS.map(|rx| [rx as i16, (rx as i16).saturating_add(1)]);
    if agent.contains(&irq) {
        AGENT.interrupt();
    } else if vehicle.contains(&irq) {
        VEHICLE.interrupt();
    } else {
        SCB::sys_reset();
    }
}

/// Without a look at the stack, which may be what is wrong.
#[exception(trampoline = false)]
unsafe fn HardFault() -> ! {
    SCB::sys_reset()
}

/// An APB UART of Arm's CMSDK, by its place on the board.
#[derive(Debug)]
pub(crate) struct Uart<const AT: usize>;

pub(crate) const AGENT_UART: usize = UARTS[0];
pub(crate) const VEHICLE_UART: usize = UARTS[1];

const DATA: usize = 0x00;
const STATE: usize = 0x04;
const CTRL: usize = 0x08;
const INTERRUPTS: usize = 0x0c;
const DIVIDER: usize = 0x10;
const SEND_FULL: u32 = 1;
const RECEIVE_FULL: u32 = 2;

impl<const AT: usize> Uart<AT> {
    fn start(&self, divider: u32) {
        self.write(DIVIDER, divider);
        // Sender, receiver, and an interrupt of each.
        self.write(CTRL, 0b1111);
    }

    /// The byte that came, if one did.
    pub(crate) fn receive(&self) -> Option<u8> {
        (self.read(STATE) & RECEIVE_FULL != 0).then(|| self.read(DATA) as u8)
    }

    /// Sends a byte if there is room for it.
    pub(crate) fn send(&self, byte: u8) -> bool {
        let free = self.read(STATE) & SEND_FULL == 0;
        if free {
            self.write(DATA, u32::from(byte));
        }
        free
    }

    pub(crate) fn clear_interrupts(&self) {
        self.write(INTERRUPTS, 0b11);
    }

    fn read(&self, register: usize) -> u32 {
        // SAFETY: a register of a device that is always there; reading one has no effect on memory.
        unsafe { (AT.wrapping_add(register) as *const u32).read_volatile() }
    }

    fn write(&self, register: usize, value: u32) {
        // SAFETY: a register of a device that is always there and writes no memory.
        unsafe { (AT.wrapping_add(register) as *mut u32).write_volatile(value) }
    }
}
