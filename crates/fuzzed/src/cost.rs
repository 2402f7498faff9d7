//! Cost of an input: memory by an allocator that counts, time by the clock of this thread's work.

use std::time::Duration;

use peak_alloc::PeakAlloc;
use rustix::time::{ClockId, Timespec, clock_gettime};

#[global_allocator]
static ALLOCATED: PeakAlloc = PeakAlloc;

/// The size of the first timing of an input that grows; the second size is four times as large.
pub(crate) const SMALL: usize = 64 * 1024;
/// The second size.
pub(crate) const LARGE: usize = 4 * SMALL;

/// The most times the time for four times the size; quadratic work takes 16 times.
const MOST: u32 = 9;

/// The time up to which the growth of an input is not judged, since a cold cache would distort it.
const SHORT: Duration = Duration::from_millis(100);

/// The memory that an empty input may take.
const FIXED: usize = 8 << 20;

/// The memory for each byte of an input. With the fixed part that is 64 MiB for an input of 256
/// KiB. At that size a fleet file of short values has as many values as are allowed; a larger file
/// is rejected there.
const PER_BYTE: usize = 224;

/// Runs `judge`, whose input has `bytes` bytes, and panics if it takes memory beyond proportion.
pub(crate) fn within_memory(bytes: usize, judge: impl FnOnce()) {
    ALLOCATED.reset_peak_usage();
    let before = ALLOCATED.current_usage();
    judge();
    let taken = ALLOCATED.peak_usage().saturating_sub(before);
    let most = FIXED + PER_BYTE * bytes;
    assert!(
        taken <= most,
        "{bytes} bytes of input took {taken} bytes of memory, {most} are allowed"
    );
}

/// Runs `judge` on inputs of two sizes made by `grown`, and panics if the time grows faster than
/// the size.
pub(crate) fn within_time(grown: impl Fn(usize) -> Vec<u8>, judge: impl Fn(Vec<u8>)) {
    let [small, large] = [SMALL, LARGE].map(|size| {
        let input = grown(size);
        let begin = worked();
        judge(input);
        worked() - begin
    });
    let most = small.max(SHORT) * MOST;
    assert!(large <= most, "{SMALL} bytes took {small:?}, and {LARGE} bytes {large:?}");
}

/// Returns the processor time of this thread.
fn worked() -> Duration {
    let Timespec { tv_sec, tv_nsec } = clock_gettime(ClockId::ThreadCPUTime);
    let part = |value: i64| u64::try_from(value).unwrap_or_default();
    Duration::from_secs(part(tv_sec)) + Duration::from_nanos(part(tv_nsec))
}
