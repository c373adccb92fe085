//! A ring in a mapping of `shared_memory`, guarded by a mutex of `raw_sync`, as users of these crates write
//! it today. A side that finds the ring full or empty lets the mutex go, and tries again.

use crate::sides::{Measure, Pause, Setup, inherited, segment_name};
use raw_sync::locks::{LockImpl, LockInit, Mutex};
use shared_memory::{Shmem, ShmemConf};
use std::ffi::CString;
use std::ptr::slice_from_raw_parts_mut;

/// The mutex guards these counts, which only grow, and the slots behind them.
#[repr(C)]
struct Counts {
    taken: usize,
    put: usize,
}

struct Ring {
    mutex: Box<dyn LockImpl>,
    counts: *mut Counts,
    slots: *mut [u64],
    _memory: Shmem,
}

impl Ring {
    fn create(capacity: usize) -> Result<Self, String> {
        let name = segment_name("mutexed");
        let size = 4096 + capacity * size_of::<u64>();
        let memory = ShmemConf::new().os_id(&name).size(size).create();
        let memory = memory.map_err(|error| error.to_string())?;
        // Forked children have the mapping and need no name.
        let name = CString::new(format!("/{name}")).expect("no zeros in it");
        // SAFETY: the name is alive.
        unsafe { libc::shm_unlink(name.as_ptr()) };
        let lock = memory.as_ptr();
        // On cache lines other than the mutex's.
        let counts = lock.wrapping_add(Mutex::size_of(Some(lock)).next_multiple_of(128));
        // SAFETY: both lie in the mapping, apart, and nobody else has it yet.
        let made = unsafe { Mutex::new(lock, counts) };
        let (mutex, _) = made.map_err(|error| error.to_string())?;
        let slots = counts.wrapping_add(128).cast();
        Ok(Self {
            mutex,
            counts: counts.cast(),
            slots: slice_from_raw_parts_mut(slots, capacity),
            _memory: memory,
        })
    }

    /// Runs `f` alone.
    fn with<T>(&self, f: impl FnOnce(&mut Counts, &mut [u64]) -> T) -> T {
        let _guard = self.mutex.lock().expect("a mutex");
        // SAFETY: zeros or what another holder of the mutex wrote, and ours while we hold it.
        let counts = unsafe { &mut *self.counts };
        // SAFETY: the same.
        f(counts, unsafe { &mut *self.slots })
    }

    fn try_put(&self, item: u64) -> bool {
        self.with(|counts, slots| {
            let room = counts.put - counts.taken < slots.len();
            if room {
                slots[counts.put % slots.len()] = item;
                counts.put += 1;
            }
            room
        })
    }

    fn try_take(&self) -> Option<u64> {
        self.with(|counts, slots| {
            (counts.taken < counts.put).then(|| {
                let item = slots[counts.taken % slots.len()];
                counts.taken += 1;
                item
            })
        })
    }
}

pub(crate) fn ring(setup: Setup, pause: Pause) -> Result<Measure, String> {
    let ring = Ring::create(setup.capacity)?;
    Ok(inherited(
        setup,
        ring,
        move |ring, item| pause.until(|| ring.try_put(item).then_some(())),
        move |ring| pause.until(|| ring.try_take()),
    ))
}
