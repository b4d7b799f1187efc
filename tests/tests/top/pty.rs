//! A terminal that a program runs on, and what is to be seen on it.

use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    num::NonZeroU16,
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::process::CommandExt as _,
    },
    process::{Child, Command, ExitStatus},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
};

use macvlan_tests::fail::{OrFail as _, PATIENCE};
use nix::{
    pty::{Winsize, openpty},
    sys::{
        signal::{Signal, kill},
        termios::{LocalFlags, Termios, tcgetattr},
    },
    unistd::Pid,
};
use vt100::Parser;

/// A program on a terminal of its own; killed when dropped.
pub struct Pty {
    process: Child,
    keyboard: File,
    /// The program's end. Kept open, so that its modes can be read when the program is gone.
    terminal: Option<OwnedFd>,
    screen: Arc<Mutex<Parser>>,
    reader: Option<JoinHandle<()>>,
    modes: Termios,
}

impl Pty {
    /// Starts `command` on a terminal of this size, as a shell would.
    #[track_caller]
    pub fn start(mut command: Command, columns: u16, lines: u16) -> Self {
        let pty = openpty(&winsize(columns, lines), None).or_fail("open a terminal");
        let modes = tcgetattr(&pty.slave).or_fail("read the modes of a terminal");
        let end = || pty.slave.try_clone().or_fail("keep a terminal");
        command.stdin(end()).stdout(end()).stderr(end());
        command.env("TERM", "xterm-256color").env("LANG", "C.UTF-8");
        command.env_remove("LC_ALL").env_remove("LC_CTYPE");
        let lead = || {
            nix::unistd::setsid()?;
            // SAFETY: takes a number; standard input is the terminal by now.
            match unsafe { libc::ioctl(0, libc::TIOCSCTTY, 0) } {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            }
        };
        // SAFETY: between fork and exec this makes two system calls and allocates nothing.
        unsafe { command.pre_exec(lead) };
        let process = command.spawn().or_fail("start a program on a terminal");
        let screen = Arc::new(Mutex::new(Parser::new(nonzero(lines), nonzero(columns), 0)));
        let keyboard = File::from(pty.master);
        let output = keyboard.try_clone().or_fail("keep a terminal");
        let reader = thread::spawn({
            let screen = Arc::clone(&screen);
            move || draw(output, &screen)
        });
        Self { process, keyboard, terminal: Some(pty.slave), screen, reader: Some(reader), modes }
    }

    /// Types this.
    #[track_caller]
    pub fn types(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).or_fail("type");
    }

    /// Makes the terminal another size, and tells the program as a terminal emulator does.
    #[track_caller]
    pub fn resize(&mut self, columns: u16, lines: u16) {
        self.parser().screen_mut().set_size(nonzero(lines), nonzero(columns));
        let size = winsize(columns, lines);
        // SAFETY: the pointer is to a live `winsize`, which the kernel reads.
        let done = unsafe { libc::ioctl(self.keyboard.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) };
        assert_eq!(done, 0, "cannot resize a terminal: {}", io::Error::last_os_error());
    }

    /// Sends the program a signal.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).or_fail(format!("send {signal}"));
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.process.id().try_into().or_fail("use a process id"))
    }

    /// The lines on the screen.
    pub fn lines(&self) -> Vec<String> {
        let parser = self.parser();
        let (_, columns) = parser.screen().size();
        let rows = parser.screen().rows(0, columns.get());
        rows.map(|row| row.trim_end().to_owned()).collect()
    }

    /// The line of the table with the child of this name, its mark first.
    pub fn row(&self, name: &str) -> Option<String> {
        let is_it = |line: &String| {
            let row = [' ', '+', 'x'].into_iter().find_map(|mark| line.strip_prefix(mark)?.strip_prefix(' '));
            row.is_some_and(|row| cells_of(row, name).is_some())
        };
        self.lines().into_iter().find(is_it)
    }

    /// Waits until the screen is as wanted.
    #[track_caller]
    pub fn wait_for(&mut self, what: &str, mut is_so: impl FnMut(&Self) -> bool) {
        let start = std::time::Instant::now();
        while !is_so(self) {
            if let Some(status) = self.process.try_wait().or_fail("wait for the program") {
                panic!("the program ended ({status}) before {what}\n{}", self.lines().join("\n"));
            }
            assert!(start.elapsed() < PATIENCE, "waited in vain for {what}\n{}", self.lines().join("\n"));
            thread::sleep(std::time::Duration::from_millis(2));
        }
    }

    /// Waits until a line has this in it.
    #[track_caller]
    pub fn wait_for_text(&mut self, text: &str) {
        self.wait_for(text, |pty| pty.lines().iter().any(|line| line.contains(text)));
    }

    /// Waits until the program has ended by itself.
    #[track_caller]
    pub fn ends(&mut self) -> ExitStatus {
        macvlan_tests::fail::wait_for("the program to end", || {
            self.process.try_wait().or_fail("wait for the program")
        })
    }

    /// Whether keys are given to the program as they are typed.
    #[track_caller]
    pub fn is_raw(&self) -> bool {
        !self.modes_now().local_flags.intersects(LocalFlags::ICANON | LocalFlags::ECHO | LocalFlags::ISIG)
    }

    /// Whether a full-screen program has the screen, with the cursor hidden.
    pub fn is_taken(&self) -> bool {
        let parser = self.parser();
        parser.screen().alternate_screen() && parser.screen().hide_cursor()
    }

    /// Fails unless modes, screen and cursor are as they were before the program, soon.
    #[track_caller]
    pub fn assert_given_back(&self) {
        assert_eq!(self.modes_now(), self.modes, "the modes of the terminal");
        macvlan_tests::fail::wait_for("the first screen and a cursor", || {
            let parser = self.parser();
            let is_back = !parser.screen().alternate_screen() && !parser.screen().hide_cursor();
            is_back.then_some(())
        });
    }

    /// Whether any cell has a colour.
    pub fn has_colors(&self) -> bool {
        let parser = self.parser();
        let (lines, columns) = parser.screen().size();
        let cells = (0..lines.get()).flat_map(|line| (0..columns.get()).map(move |column| (line, column)));
        cells
            .filter_map(|(line, column)| parser.screen().cell(line, column))
            .any(|cell| cell.fgcolor() != vt100::Color::Default || cell.bgcolor() != vt100::Color::Default)
    }

    fn modes_now(&self) -> Termios {
        tcgetattr(self.terminal.as_ref().or_fail("keep a terminal")).or_fail("read the modes of a terminal")
    }

    fn parser(&self) -> MutexGuard<'_, Parser> {
        self.screen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Pty {
    fn drop(&mut self) {
        // It may have ended by itself; that is as good.
        let _ = self.process.kill();
        let _ = self.process.wait();
        // With the last of its ends closed the reader reads no more (EIO).
        drop(self.terminal.take());
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

fn draw(mut output: File, screen: &Mutex<Parser>) {
    let mut buffer = [0; 4096];
    while let Ok(len @ 1..) = output.read(&mut buffer) {
        screen.lock().unwrap_or_else(PoisonError::into_inner).process(&buffer[..len]);
    }
}

fn winsize(columns: u16, lines: u16) -> Winsize {
    Winsize { ws_row: lines, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}

fn nonzero(number: u16) -> NonZeroU16 {
    NonZeroU16::new(number).or_fail("use a terminal of no size")
}

/// The cells of a row from that on which names a child: by its interface, with or without its namespace.
pub fn cells_of<'row>(row: &'row str, name: &str) -> Option<Vec<&'row str>> {
    let cells: Vec<&str> = row.split_whitespace().collect();
    let is_name = |cell: &&str| cell.rsplit('/').next() == Some(name);
    let at = cells.iter().take(2).position(is_name)?;
    Some(cells[at..].to_vec())
}
