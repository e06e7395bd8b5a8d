//! Which ways have which slots of places. A reader need not know: slots are told.

/// How many ways that packets take are told from each other, by twos, and what is left of a way's
/// number then.
const WAYS: usize = 1 << 9;
const WAY_BITS: u32 = u32::BITS - WAYS.trailing_zeros();

/// Ways and their slots.
pub struct Slots {
    /// Each at one of two places that its highest bits tell.
    known: Box<[[(u32, u8); 2]; WAYS]>,
    /// The slot that the next way gets.
    next: u8,
}

impl Slots {
    pub fn new() -> Self {
        Self {
            known: Box::new([[(0, 0); 2]; WAYS]),
            next: 0,
        }
    }

    /// A way's slot; of one that is not known the slot that was given longest ago.
    pub fn of(&mut self, way: u32) -> u8 {
        let [newer, older] = &mut self.known[(way >> WAY_BITS) as usize];
        if newer.0 == way {
            return newer.1;
        }
        if older.0 == way {
            return older.1;
        }
        *older = *newer;
        *newer = (way, self.next);
        self.next = self.next.wrapping_add(1);
        newer.1
    }
}
