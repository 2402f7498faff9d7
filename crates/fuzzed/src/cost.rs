//! Cost of an input: memory by an allocator that counts, time by the clock of this thread's work.

use std::time::Duration;

use peak_alloc::PeakAlloc;
use rustix::time::{ClockId, Timespec, clock_gettime};

#[global_allocator]
static ALLOCATED: PeakAlloc = PeakAlloc;

/// A size at which an input that grows is timed first; the second is four times as large.
pub(crate) const SMALL: usize = 64 * 1024;
/// The second size.
pub(crate) const LARGE: usize = 4 * SMALL;

/// Four times the size may take so many times the time; what is quadratic takes 16 times.
const MOST: u32 = 9;

/// Time up to which an input is not judged by its growth: a cache that is cold would be.
const SHORT: Duration = Duration::from_millis(100);

/// Memory that an input of no size may take.
const FIXED: usize = 8 << 20;

/// Memory for each byte of an input: with the fixed part 64 MiB for one of 256 KiB, the size at which a fleet file of short values
/// has as many as it may have. A larger one is refused at that point.
const PER_BYTE: usize = 224;

/// Runs `judge`, whose input has so many bytes, and panics where it takes memory beyond proportion.
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

/// Runs `judge` on what `grown` makes for two sizes, and panics where the time grows faster than the size.
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

/// The time that this thread was at work.
fn worked() -> Duration {
    let Timespec { tv_sec, tv_nsec } = clock_gettime(ClockId::ThreadCPUTime);
    let part = |value: i64| u64::try_from(value).unwrap_or_default();
    Duration::from_secs(part(tv_sec)) + Duration::from_nanos(part(tv_nsec))
}
