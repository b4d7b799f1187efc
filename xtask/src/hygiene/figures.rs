//! How a package is built up, in figures.

/// The figures of one package.
pub struct Figures {
    pub package: String,
    /// Each file's lines and name, tests too.
    pub files: Vec<(usize, String)>,
    pub circles: usize,
    pub levels: usize,
}

/// A line for each package, and one for all.
pub fn table(packages: &[Figures]) -> String {
    let mut text = format!(
        "{:<15} {:>5} {:>6} {:>7} {:>6}  largest file",
        "package", "files", "median", "circles", "levels"
    );
    for Figures { package, files, circles, levels } in packages {
        text += &line(package, files, *circles, *levels);
    }
    let all: Vec<_> = packages.iter().flat_map(|package| package.files.iter().cloned()).collect();
    let circles = packages.iter().map(|package| package.circles).sum();
    let levels = packages.iter().map(|package| package.levels).max().unwrap_or(0);
    text + &line("all", &all, circles, levels)
}

fn line(package: &str, files: &[(usize, String)], circles: usize, levels: usize) -> String {
    let (count, median) = (files.len(), median(files));
    let largest =
        files.iter().max().map(|(lines, file)| format!("{lines} lines, {file}")).unwrap_or_default();
    format!("\n{package:<15} {count:>5} {median:>6} {circles:>7} {levels:>6}  {largest}")
}

fn median(files: &[(usize, String)]) -> usize {
    let mut lines: Vec<usize> = files.iter().map(|(lines, _)| *lines).collect();
    lines.sort_unstable();
    lines.get(lines.len() / 2).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_for_each_package_and_one_for_all() {
        let files = |lines: &[usize]| lines.iter().map(|lines| (*lines, format!("{lines}.rs"))).collect();
        let of = |package: &str, lines: &[usize], circles, levels| Figures {
            package: package.into(),
            files: files(lines),
            circles,
            levels,
        };
        let text = table(&[of("one", &[9, 10, 300], 1, 3), of("two", &[20, 400], 2, 2)]);
        assert_eq!(
            text,
            "package         files median circles levels  largest file\n\
             one                 3     10       1      3  300 lines, 300.rs\n\
             two                 2    400       2      2  400 lines, 400.rs\n\
             all                 5     20       3      3  400 lines, 400.rs"
        );
    }
}
