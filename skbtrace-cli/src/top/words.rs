//! Numbers and times in few columns.

/// A number in six columns: `999999`, `1000k`, `100M`.
pub fn count(number: u64) -> String {
    match number {
        0..1_000_000 => number.to_string(),
        1_000_000..100_000_000 => format!("{}k", number / 1_000),
        100_000_000..100_000_000_000 => format!("{}M", number / 1_000_000),
        _ => format!("{}G", number / 1_000_000_000),
    }
}

/// A time given in nanoseconds in five columns: `999ns`, `9.9us`, `99us`, `1.2s`, `3600s`.
pub fn time(ns: u64) -> String {
    let (unit, name) = match ns {
        0..1_000 => return format!("{ns}ns"),
        1_000..1_000_000 => (1_000, "us"),
        1_000_000..1_000_000_000 => (1_000_000, "ms"),
        _ => (1_000_000_000, "s"),
    };
    let whole = ns / unit;
    if whole < 10 {
        let tenth = ns % unit * 10 / unit;
        format!("{whole}.{tenth}{name}")
    } else {
        format!("{whole}{name}")
    }
}

/// How long ago, given in nanoseconds, in four columns: `59s`, `59m`, `99h`, `999d`.
pub fn ago(ns: u64) -> String {
    let seconds = ns / 1_000_000_000;
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m", seconds / 60),
        3_600..360_000 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// How long something has been going on: `01:02:03`.
pub fn running(seconds: u64) -> String {
    let (hours, rest) = (seconds / 3_600, seconds % 3_600);
    format!("{hours:02}:{:02}:{:02}", rest / 60, rest % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_the_edges() {
        let counts = [0, 999_999, 1_000_000, 99_999_999, 100_000_000, u64::MAX].map(count);
        assert_eq!(
            counts,
            ["0", "999999", "1000k", "99999k", "100M", "18446744073G"]
        );
        let times = [
            0,
            999,
            1_000,
            9_999,
            10_000,
            999_999,
            1_204_999,
            2_000_000_000,
        ]
        .map(time);
        assert_eq!(
            times,
            [
                "0ns", "999ns", "1.0us", "9.9us", "10us", "999us", "1.2ms", "2.0s"
            ]
        );
        let second = 1_000_000_000;
        let agos = [0, 59, 60, 3_600, 360_000].map(|seconds| ago(seconds * second));
        assert_eq!(agos, ["0s", "59s", "1m", "1h", "4d"]);
        assert_eq!(running(3_723), "01:02:03");
    }
}
