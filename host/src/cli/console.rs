//! What people read on a terminal. Here, and nowhere else, the command line prints, and what
//! others wrote is escaped: a text is one line, and several are printed as such.

#![expect(clippy::disallowed_methods, reason = "this is where the command line prints")]

use std::io::{self, IsTerminal as _, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};
use comfy_table::presets::NOTHING;
use comfy_table::{ColumnConstraint, ContentArrangement, Table};
use terminal_size::{Height, Width, terminal_size_of};
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use crate::deploy::{Notice, ServiceState, Status};
use crate::escape;

/// What empties a terminal and begins at its top (ECMA-48 `ED`, `CUP`).
const CLEAR: &str = "\x1b[2J\x1b[H";

/// What empties a terminal from where it is at (ECMA-48 `ED`).
const CLEAR_BELOW: &str = "\x1b[J";

/// How narrow a column of texts may become, in columns of the terminal.
const LEAST_TEXT: usize = 20;

/// How a table's head looks, and what says that a command failed.
const HEAD: Style = Style::new().bold();
const FAILED: Style = AnsiColor::Red.on_default().bold();

/// Whether the command goes on where nobody reads what it prints any more.
static GOES_ON: AtomicBool = AtomicBool::new(false);

/// A text on a terminal that is shown anew in its place.
#[derive(Debug, Default)]
pub(super) struct Screen {
    /// How many rows it takes now.
    rows: usize,
}

impl Screen {
    /// Shows this instead of what was shown before.
    ///
    /// # Errors
    /// When nobody reads it any more.
    pub(super) fn show(&mut self, text: &[String]) -> io::Result<()> {
        let (columns, rows) = size_of_terminal().unwrap_or((80, 24));
        let began = match self.rows {
            0 => String::new(),
            // Its beginning is out of reach.
            shown if shown >= rows => CLEAR.to_owned(),
            // To the first of its rows (ECMA-48 `CPL`).
            shown => format!("\x1b[{shown}F{CLEAR_BELOW}"),
        };
        let rows = |line: &String| escape::line(line).width().div_ceil(columns).max(1);
        self.rows = text.iter().map(rows).sum();
        let mut stdout = io::stdout().lock();
        let (head, rest) = text.split_at(usize::from(begins_with_head(text)));
        write(&mut stdout, &began, &[] as &[&str])?;
        styled(&mut stdout, HEAD, head, is_coloured(&io::stdout()))?;
        write(&mut stdout, "", rest)
    }

    /// Takes away what was shown; what comes next is in its place.
    ///
    /// # Errors
    /// When nobody reads it any more.
    pub(super) fn clear(&mut self) -> io::Result<()> {
        let shown = std::mem::take(&mut self.rows);
        if shown == 0 {
            return Ok(());
        }
        write!(io::stdout().lock(), "\x1b[{shown}F{CLEAR_BELOW}")
    }
}

/// Rows in columns as wide as their widest cell, the first row above the others;
/// on a narrow terminal the last column's texts are broken into lines.
pub(super) fn table(rows: &[Vec<String>]) -> Vec<String> {
    in_width(rows, &[], width())
}

/// The same where the columns of these titles go, in this order, for as long as the
/// terminal is too narrow for all.
pub(super) fn table_sparing(rows: &[Vec<String>], spare: &[&str]) -> Vec<String> {
    in_width(rows, spare, width())
}

fn in_width(rows: &[Vec<String>], spare: &[&str], width: Option<u16>) -> Vec<String> {
    // Escaped first: how wide a cell is depends on it.
    let shown = |cell: &String| escape::line(cell).into_owned();
    let mut rows: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().map(shown).collect()).collect();
    let fits = |rows: &[Vec<String>]| width.is_none_or(|width| least_width(rows) <= width.into());
    for title in spare {
        let column = rows[0].iter().position(|each| each == title);
        if let Some(column) = column.filter(|_| !fits(&rows)) {
            rows.iter_mut().for_each(|row| _ = row.remove(column));
        }
    }
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.add_rows(&rows);
    table.column_iter_mut().for_each(|column| _ = column.set_padding((0, 2)));
    // Where it doesn't fit even so, the terminal breaks the lines: a number or an id in two
    // pieces is read as two.
    if let Some(width) = width.filter(|_| fits(&rows)) {
        table.set_width(width).set_content_arrangement(ContentArrangement::Dynamic);
        let columns = table.column_iter_mut().take(rows[0].len().saturating_sub(1));
        columns.for_each(|column| _ = column.set_constraint(ColumnConstraint::ContentWidth));
    }
    table.trim_fmt().lines().map(str::to_owned).collect()
}

/// How wide a table has to be for only its last column's texts to be broken.
fn least_width(rows: &[Vec<String>]) -> usize {
    let columns = rows[0].len();
    let widest = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.width()).max().unwrap_or(0)
    };
    let whole: usize = (0..columns.saturating_sub(1)).map(|column| widest(column) + 2).sum();
    // The last one has room for padding, too, though nothing is seen of it.
    whole + widest(columns.saturating_sub(1)).min(LEAST_TEXT) + 2
}

/// How many columns the terminal has, where standard output is one.
pub(super) fn width() -> Option<u16> {
    let (Width(width), _) = terminal_size_of(io::stdout())?;
    Some(width)
}

/// Its columns and rows.
fn size_of_terminal() -> Option<(usize, usize)> {
    let (Width(width), Height(height)) = terminal_size_of(io::stdout())?;
    Some((usize::from(width).max(1), usize::from(height)))
}

/// Whether standard output is a terminal.
pub(super) fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// As much of a line as the terminal has room for.
pub(super) fn fit(text: &str, width: Option<u16>) -> String {
    let text = &*escape::line(text);
    let Some(width) = width.map(usize::from).filter(|width| text.width() > *width) else {
        return text.to_owned();
    };
    let mut used = 1;
    let fits = |c: &char| {
        used += c.width().unwrap_or(0);
        used <= width
    };
    text.chars().take_while(fits).chain(['…']).collect()
}

/// Prints how the command is used, and ends it; with colours if nothing is to be escaped.
pub(super) fn usage(error: &clap::Error) -> ! {
    let text: Vec<String> = error.render().to_string().lines().map(str::to_owned).collect();
    if text.iter().all(|line| *line == escape::line(line)) {
        let printed = error.print().and_then(|()| io::stdout().flush());
        let unprinted = printed.err().filter(|error| error.kind() != io::ErrorKind::BrokenPipe);
        if let Some(unprinted) = unprinted.filter(|_| !error.use_stderr()) {
            failed(&[format!("hotdock: it could not be printed: {unprinted}")]);
            std::process::exit(super::exit::FAILED.into());
        }
        std::process::exit(error.exit_code());
    }
    _ = write(&mut io::stderr().lock(), "", &text);
    std::process::exit(error.exit_code())
}

/// Prints why the command failed.
pub(super) fn error(error: &anyhow::Error) {
    failed(&error_lines(error));
}

/// Prints what begins with the program's name.
fn failed(text: &[String]) {
    let mut stderr = io::stderr().lock();
    let (first, rest) = text.split_at(text.len().min(1));
    // There is nowhere else to say that it cannot be said.
    _ = styled(&mut stderr, FAILED, first, is_coloured(&io::stderr()))
        .and_then(|()| write(&mut stderr, "", rest));
}

fn error_lines(error: &anyhow::Error) -> Vec<String> {
    let text = format!("{error:#}");
    let mut lines = text.lines();
    let first = format!("hotdock: {}", lines.next().unwrap_or_default());
    // What follows cannot be taken for another line of the program's.
    let rest = lines.map(|line| match line.starts_with("  ") {
        true => line.to_owned(),
        false => format!("  {line}"),
    });
    [first].into_iter().chain(rest).collect()
}

/// Prints that something was refused, and every reason.
pub(super) fn refused(what: &str, reasons: &[String]) {
    failed(&[vec![format!("hotdock: {what}")], bullets(reasons)].concat());
}

/// Prints what is said beside what was asked for.
pub(super) fn notes(lines: &[String]) {
    // There is nowhere else to say that it cannot be said.
    _ = write(&mut io::stderr().lock(), "", lines);
}

/// From here on what nobody reads any more is not printed, which is no error: the command's exit
/// code still says what came of it.
pub(super) fn go_on_unread() {
    GOES_ON.store(true, Ordering::Relaxed);
}

/// What came of printing, where the command may go on without.
fn unless_unread(printed: io::Result<()>) -> io::Result<()> {
    let is_unread = |error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe;
    match printed {
        Err(error) if is_unread(&error) && GOES_ON.load(Ordering::Relaxed) => Ok(()),
        printed => printed,
    }
}

/// Prints a line of what was asked for.
///
/// # Errors
/// When it cannot be printed; or nobody reads it any more, unless the command goes on unread.
pub(super) fn print(line: &str) -> io::Result<()> {
    unless_unread(write(&mut io::stdout().lock(), "", &[line]))
}

/// Prints several.
///
/// # Errors
/// As [`print`].
pub(super) fn lines(lines: &[String]) -> io::Result<()> {
    unless_unread(write(&mut io::stdout().lock(), "", lines))
}

/// Prints several, of which the first may be a table's head.
///
/// # Errors
/// As [`print`].
pub(super) fn tabled(lines: &[String]) -> io::Result<()> {
    let (head, rest) = lines.split_at(usize::from(begins_with_head(lines)));
    let mut stdout = io::stdout().lock();
    let printed = styled(&mut stdout, HEAD, head, is_coloured(&io::stdout()));
    unless_unread(printed.and_then(|()| write(&mut stdout, "", rest)))
}

/// Prints JSON as one line.
///
/// # Errors
/// As [`print`].
pub(super) fn json(text: &str) -> io::Result<()> {
    print(&escape::json(text))
}

/// Prints what is the program's own, to its last byte: a script, a page of the manual.
///
/// # Errors
/// As [`print`].
pub(super) fn own(text: &[u8]) -> io::Result<()> {
    unless_unread(io::stdout().lock().write_all(text))
}

/// Writes lines, all at once, after what the program itself tells the terminal.
fn write(to: &mut impl Write, own: &str, lines: &[impl AsRef<str>]) -> io::Result<()> {
    let mut text = own.to_owned();
    for line in lines {
        text.push_str(&escape::line(line.as_ref()));
        text.push('\n');
    }
    to.write_all(text.as_bytes())
}

/// Lines in a style, where there are `colours`.
fn styled(to: &mut impl Write, style: Style, lines: &[String], colours: bool) -> io::Result<()> {
    if !colours {
        return write(to, "", lines);
    }
    let lines = lines.iter().map(|line| format!("{style}{}{style:#}\n", escape::line(line)));
    to.write_all(lines.collect::<String>().as_bytes())
}

/// Whether somebody sees colours there: a terminal, unless `NO_COLOR` is set or `TERM` is `dumb`;
/// or `CLICOLOR_FORCE` says so.
fn is_coloured<S: anstream::stream::RawStream>(stream: &S) -> bool {
    AutoStream::choice(stream) != ColorChoice::Never
}

/// Whether the first line has the titles of columns, which have no small letters.
fn begins_with_head(lines: &[String]) -> bool {
    lines.first().is_some_and(|first| !first.chars().any(char::is_lowercase))
}

/// Each in a line of its own, below what is said of them.
pub(super) fn bullets(reasons: &[String]) -> Vec<String> {
    reasons.iter().flat_map(|reason| indented("  - ", "    ", reason)).collect()
}

/// A text's own lines, the first after one word, the others after another.
pub(super) fn indented(first: &str, others: &str, text: &str) -> Vec<String> {
    let before = |index| if index == 0 { first } else { others };
    text.split('\n').enumerate().map(|(index, line)| format!("{}{line}", before(index))).collect()
}

/// A deployment's notice in words; `None` for what people need not see.
pub(super) fn notice(notice: &Notice) -> Option<Vec<String>> {
    let line = match notice {
        Notice::Compiling { service, bytes, .. } => {
            format!("  {service}: compiling {}", size(*bytes))
        }
        Notice::Refused { service, file, reasons } => {
            let file = file.as_deref().unwrap_or("an upload");
            let name = service.as_ref().map_or(file, |service| service.as_str());
            let said = format!("  {name}: {file} is refused; what served before still does");
            let reasons = reasons.iter().flat_map(|each| indented("      - ", "        ", each));
            return Some([said].into_iter().chain(reasons).collect());
        }
        Notice::Pending { service, file, reasons } => {
            let name = service.as_ref().map_or(file.as_str(), |service| service.as_str());
            let said = format!("  {name}: {file} is pending");
            let reasons = reasons.iter().flat_map(|each| indented("      - ", "        ", each));
            return Some([said].into_iter().chain(reasons).collect());
        }
        Notice::Serving { version, routes, compile_time, restored } => {
            let how = match compile_time {
                Some(time) => format!("compiled in {}", duration(*time)),
                None if *restored => "restored from the cache".to_owned(),
                None => "compiled before".to_owned(),
            };
            let what = if routes.is_empty() {
                "handles events or calls".to_owned()
            } else {
                format!("serves {}", routes.join(", "))
            };
            format!("  {version}: {what} ({how})")
        }
        Notice::Draining { version, leases } if *leases > 0 => {
            let (requests, go) =
                (counted(*leases, "request"), if *leases == 1 { "goes" } else { "go" });
            format!("  {version}: {requests} under way {go} on")
        }
        Notice::Drained { version, leases_left } if *leases_left > 0 => {
            format!("  {version}: ended with {} still under way", counted(*leases_left, "request"))
        }
        Notice::Undeployed { service, file: Some(file), .. } => {
            format!("  {service}: {file} is gone, no longer served; its state is kept")
        }
        Notice::Undeployed { service, file: None, who } => {
            format!("  {service}: undeployed{}, no longer served; its state is kept", by(who))
        }
        Notice::Shared { service, traffic, who } if traffic.versions.len() > 1 => {
            format!("  {service}: traffic is shared{}: {traffic}", by(who))
        }
        // Where nobody's word it was, it is said that it serves.
        Notice::Shared { service, traffic, who: who @ Some(_) } => {
            format!("  {service}: all traffic is shared anew{}: {traffic}", by(who))
        }
        Notice::RolledBack { version, to, reason, who } => {
            format!("  {version}: rolled back to v{to}{}: {reason}", by(who))
        }
        Notice::Held { version, reason } => format!("  {version}: waits for you: {reason}"),
        Notice::Deployment(_)
        | Notice::Shared { .. }
        | Notice::Draining { .. }
        | Notice::Drained { .. } => return None,
    };
    Some(vec![line])
}

fn by(who: &Option<String>) -> String {
    who.as_ref().map(|who| format!(" by {who}")).unwrap_or_default()
}

/// What the host serves once the folder was looked through.
pub(super) fn summary(status: &Status) -> String {
    let serving = status.services.iter().filter(|service| service.serving.is_some()).count();
    let lost = status.services.iter().filter(|service| service.state == ServiceState::Lost).count();
    let services = counted(serving as u64, "service");
    match (serving, status.files.len(), lost) {
        (0, 0, 0) => "Nothing to serve yet: drop a component into the folder.".to_owned(),
        (_, 0, 0) => {
            format!("Ready: {services}. Drop a newer .wasm into the folder to deploy it.")
        }
        (_, refused, 0) => {
            let files = counted(refused as u64, "file");
            format!("Ready: {services}; not served: {files}, see above.")
        }
        (_, _, lost) => {
            format!("Ready: {services}; {lost} could not be restored, see above.")
        }
    }
}

/// 1 request, 2 requests
pub(super) fn counted(count: u64, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

/// 13.2 MB
pub(super) fn size(bytes: usize) -> String {
    bytesize::ByteSize::b(bytes as u64).display().si().to_string()
}

fn duration(time: Duration) -> String {
    if time.as_secs() >= 1 {
        format!("{:.1} s", time.as_secs_f64())
    } else {
        format!("{} ms", time.as_millis())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_where_the_terminal_ends() {
        assert_eq!(fit("tea", None), "tea");
        assert_eq!(fit("tea", Some(3)), "tea");
        assert_eq!(fit("green tea", Some(6)), "green…");
        assert_eq!(fit("緑茶です", Some(6)), "緑茶…", "these are two columns wide");
    }

    #[test]
    fn texts_of_others_steer_no_terminal() {
        let printed = |own: &str, lines: &[&str]| {
            let mut printed = Vec::new();
            write(&mut printed, own, lines).expect("written");
            String::from_utf8(printed).expect("text")
        };
        let foreign = ["a\x1b[2Jb\nc\u{9b}d\u{202e}", "e"];
        assert_eq!(printed(CLEAR_BELOW, &foreign), "\x1b[Ja\\u{1b}[2Jb\\nc\\u{9b}d\\u{202e}\ne\n");
        let row = |cell: &str| vec![cell.to_owned(), "12".to_owned()];
        let shown = in_width(&[row("NAME"), row("a\nb\x1b")], &[], Some(80));
        assert_eq!(shown, ["NAME        12", "a\\nb\\u{1b}  12"]);
        assert_eq!(fit("a\nb\nc", Some(6)), "a\\nb\\…");
    }

    #[test]
    fn a_tables_head_is_seen_where_there_are_colours() {
        let printed = |colours| {
            let mut printed = Vec::new();
            let head = ["NAME  \x1b[2J".to_owned()];
            styled(&mut printed, HEAD, &head, colours).expect("written");
            String::from_utf8(printed).expect("text")
        };
        assert_eq!(printed(true), "\x1b[1mNAME  \\u{1b}[2J\x1b[0m\n");
        assert_eq!(printed(false), "NAME  \\u{1b}[2J\n");
        let begins = |line: &str| begins_with_head(&[line.to_owned()]);
        assert!(begins("SERVICE  DEPLOYED (UTC)") && !begins("nothing is deployed"));
    }

    #[test]
    fn what_follows_an_errors_first_line_is_seen_to_be_of_it() {
        let error = anyhow::anyhow!("no\nhotdock: all is well\n    at 7");
        assert_eq!(error_lines(&error), ["hotdock: no", "  hotdock: all is well", "    at 7"]);
        let reasons = ["one\ntwo".to_owned(), "three".to_owned()];
        assert_eq!(bullets(&reasons), ["  - one", "    two", "  - three"]);
    }

    #[test]
    fn columns_are_as_wide_as_they_have_to_be() {
        let row = |cells: [&str; 2]| cells.map(str::to_owned).to_vec();
        let shown = table(&[row(["NAME", "LAG"]), row(["cart/orders", "12"])]);
        assert_eq!(shown, ["NAME         LAG", "cart/orders  12"]);
    }

    #[test]
    fn a_narrow_terminal_breaks_texts_and_no_numbers() {
        let row = |cells: [&str; 4]| cells.map(str::to_owned).to_vec();
        let rows = [
            row(["VERSION", "DIGEST", "DEPLOYED (UTC)", "NOTE"]),
            row(["v12", "0123456789ab", "2026-01-31 08:00:00", "rolled back: it was too slow"]),
        ];
        let shown = |width| in_width(&rows, &["DIGEST"], Some(width)).join("\n");
        let wide = "VERSION  DIGEST        DEPLOYED (UTC)       NOTE\n\
                    v12      0123456789ab  2026-01-31 08:00:00  rolled back: it was too slow";
        assert_eq!(shown(80), wide);
        assert_eq!(in_width(&rows, &["DIGEST"], None).join("\n"), wide);
        let narrow = "VERSION  DEPLOYED (UTC)       NOTE\n\
                      v12      2026-01-31 08:00:00  rolled back: it was\n\
                      \x20                             too slow";
        assert_eq!(shown(54), narrow);
        assert_eq!(shown(60).lines().count(), 2, "{}", shown(60));
        let whole = "VERSION  DEPLOYED (UTC)       NOTE\n\
                     v12      2026-01-31 08:00:00  rolled back: it was too slow";
        assert_eq!(shown(40), whole);
    }
}
