//! The process as Linux shows it under `/proc`; elsewhere nothing is known of it.

use std::fs;

use super::facts::{Facts, thousandths};
use super::list;

/// Milliseconds of a clock tick as `/proc` counts them: 100 a second on every Linux (`USER_HZ`).
const TICK_MILLISECONDS: u64 = 10;

/// Writes what is known of the process.
pub fn write(facts: &mut Facts) {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    facts.value(&list::PROCESS_MEMORY, &[], resident_bytes(&read("/proc/self/status")));
    facts.value(&list::PROCESS_CPU, &[], cpu_milliseconds(&read("/proc/self/stat")).map(thousandths));
    facts.value(&list::PROCESS_FILES, &[], fs::read_dir("/proc/self/fd").ok().map(Iterator::count));
    facts.value(&list::PROCESS_FILES_MAX, &[], files_max(&read("/proc/self/limits")));
}

fn resident_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()?.checked_mul(1_024)
}

fn cpu_milliseconds(stat: &str) -> Option<u64> {
    // The second field is the program's name in parentheses, which may hold anything; utime and stime are the 14th and
    // 15th, the twelfth and thirteenth behind it.
    let mut behind = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let (user, system): (u64, u64) = (behind.next()?.parse().ok()?, behind.next()?.parse().ok()?);
    user.checked_add(system)?.checked_mul(TICK_MILLISECONDS)
}

fn files_max(limits: &str) -> Option<u64> {
    limits.lines().find_map(|line| line.strip_prefix("Max open files"))?.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_linux_shows_is_read() {
        assert_eq!(resident_bytes("Name:\tx\nVmRSS:\t    1234 kB\nVmData:\t 1 kB\n"), Some(1_263_616));
        let stat = "7 (a b) c) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 9 0 100 1000 200";
        assert_eq!(cpu_milliseconds(stat), Some(3_000));
        assert_eq!(files_max("Limit  Soft Hard Units\nMax open files            1024  4096  files\n"), Some(1_024));
        assert_eq!((resident_bytes(""), cpu_milliseconds(""), files_max("")), (None, None, None));
    }
}
