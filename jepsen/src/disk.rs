//! A disk for each replica: a small ext4 file system of its own in an image, whose power can be cut.
//!
//! The image has no name any more once it is in use, and its loop device goes when nobody holds it: when the run ends,
//! however it ends, nothing is left.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use timbermq_tests::sandbox::{has_program, run};

/// Bytes of an image. It is sparse.
const BYTES: u64 = 768 << 20;
/// The file that fills a disk up.
const FILLER: &str = "filler";

/// One disk.
#[derive(Debug)]
pub struct Disk {
    /// Where it is mounted.
    pub path: PathBuf,
    /// The loop device; held open so that it stays while nothing is mounted. Without one, `path` is a plain directory.
    device: Option<(String, File)>,
    is_mounted: bool,
    /// Whether a request has failed since it was mounted: then the file system may refuse all further ones.
    is_hurt: bool,
    /// Whether it is to be full.
    is_full: bool,
}

impl Disk {
    /// Makes and mounts a disk at `path`.
    ///
    /// # Errors
    /// No image, loop device or mount.
    pub fn new(path: &Path) -> Result<Self> {
        std::fs::create_dir_all(path)?;
        let image = path.with_extension("img");
        let file = File::create(&image).with_context(|| image.display().to_string())?;
        file.set_len(BYTES)?;
        let image_text = image.display().to_string();
        run("mkfs.ext4", &["-q", "-F", "-E", "lazy_itable_init=1", &image_text])?;
        let device = run("losetup", &["--find", "--show", &image_text])?;
        let held = File::open(&device).with_context(|| device.clone())?;
        std::fs::remove_file(&image)?;
        // While it is open this only marks it to go with whoever holds it last.
        run("losetup", &["--detach", &device])?;
        let device = Some((device, held));
        let mut disk = Self { path: path.to_owned(), device, is_mounted: false, is_hurt: false, is_full: false };
        disk.mount()?;
        Ok(disk)
    }

    /// A plain directory in place of a disk: its power cannot be cut, and it cannot be filled up.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn plain(path: &Path) -> Result<Self> {
        std::fs::create_dir_all(path)?;
        Ok(Self { path: path.to_owned(), device: None, is_mounted: true, is_hurt: false, is_full: false })
    }

    /// Whether it is there to be used.
    #[must_use]
    pub const fn is_mounted(&self) -> bool {
        self.is_mounted
    }

    /// Whether it works: nothing has failed since it was mounted.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.is_mounted && !self.is_hurt
    }

    /// The number of its device, `major:minor`.
    ///
    /// # Errors
    /// It is a plain directory.
    pub fn number(&self) -> Result<String> {
        use std::os::unix::fs::MetadataExt as _;
        let (_, device) = self.device.as_ref().context("a plain directory has no device")?;
        let number = device.metadata()?.rdev();
        Ok(format!("{}:{}", rustix::fs::major(number), rustix::fs::minor(number)))
    }

    /// Has every request to the device fail, until [`Disk::repair`].
    ///
    /// # Errors
    /// It is a plain directory, or the kernel refuses.
    pub fn fail(&mut self) -> Result<()> {
        let (_, device) = self.device.as_ref().context("a plain directory cannot fail")?;
        // The device ends before everything.
        capacity::limit(device, 4096).context("making a device fail")?;
        self.is_hurt = true;
        Ok(())
    }

    /// Has requests to the device succeed again. What failed meanwhile is not on it.
    ///
    /// # Errors
    /// It is a plain directory, or the kernel refuses.
    pub fn repair(&self) -> Result<()> {
        let (_, device) = self.device.as_ref().context("a plain directory cannot fail")?;
        capacity::limit(device, 0).context("repairing a device")
    }

    /// Mounts it, with whatever it had when it was last written to, less what filled it up if it is not to be full any more:
    /// it may not have worked when the space was given back, or the power cut may have undone that.
    ///
    /// # Errors
    /// The mount is refused.
    pub fn mount(&mut self) -> Result<()> {
        let (Some((device, _)), false) = (&self.device, self.is_mounted) else { return Ok(()) };
        run("mount", &["-t", "ext4", "-o", "errors=continue", device, &self.path.display().to_string()])?;
        (self.is_mounted, self.is_hurt) = (true, false);
        if self.is_full { Ok(()) } else { self.remove_filler() }
    }

    /// Cuts the power: everything that was not synced is gone, and each further access fails. Whoever uses the disk must
    /// be ended before it can be mounted again.
    ///
    /// # Errors
    /// It is a plain directory, or the file system has no such call.
    pub fn cut_power(&self) -> Result<()> {
        anyhow::ensure!(self.device.is_some(), "a plain directory has no power to cut");
        let root = File::open(&self.path)?;
        shutdown::without_flush(&root).with_context(|| format!("cutting the power of {}", self.path.display()))?;
        Ok(())
    }

    /// Unmounts it after the power was cut, or after requests failed.
    ///
    /// # Errors
    /// It stays in use.
    pub fn unmount(&mut self) -> Result<()> {
        let path = self.path.display().to_string();
        for attempt in 0..50 {
            match run("umount", &[&path]) {
                Ok(_) => {
                    self.is_mounted = false;
                    return Ok(());
                }
                Err(error) if attempt == 49 => return Err(error),
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
        }
        bail!("{path} stays mounted")
    }

    /// Fills it up to the last byte. Returns how many bytes that took.
    ///
    /// # Errors
    /// It is a plain directory, or something else than a lack of space stops it.
    pub fn fill(&mut self) -> Result<u64> {
        anyhow::ensure!(self.device.is_some(), "a plain directory cannot be filled up");
        self.is_full = true;
        let mut filler = File::create(self.path.join(FILLER))?;
        let (mut bytes, mut step) = (0, 64 << 20);
        while step >= 4096 {
            match rustix::fs::fallocate(&filler, rustix::fs::FallocateFlags::empty(), bytes, step) {
                Ok(()) => bytes += step,
                Err(rustix::io::Errno::NOSPC) => step /= 4,
                Err(error) => return Err(error.into()),
            }
        }
        let _ = filler.write_all(b"full");
        Ok(bytes)
    }

    /// Gives the space back, now or, if it does not work now, when it is mounted again.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn free(&mut self) -> Result<()> {
        self.is_full = false;
        if self.is_whole() { self.remove_filler() } else { Ok(()) }
    }

    fn remove_filler(&self) -> Result<()> {
        match std::fs::remove_file(self.path.join(FILLER)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }
}

/// Why disks cannot be made here, if so.
#[must_use]
pub fn missing() -> Option<String> {
    for (program, package) in [("mkfs.ext4", "e2fsprogs"), ("losetup", "mount"), ("mount", "mount")] {
        if !has_program(program) {
            return Some(format!("{program} is missing: install the package {package}"));
        }
    }
    if !Path::new("/dev/loop-control").exists() {
        return Some("there are no loop devices".to_owned());
    }
    static TRIED: OnceLock<Option<String>> = OnceLock::new();
    TRIED.get_or_init(|| trial().err().map(|error| format!("an image cannot be mounted: {error:#}"))).clone()
}

/// Mounts a small image, where nobody else sees it.
fn trial() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (image, at) = (dir.path().join("image"), dir.path().join("at"));
    std::fs::create_dir(&at)?;
    File::create(&image)?.set_len(4 << 20)?;
    let (image, at) = (image.display().to_string(), at.display().to_string());
    run("mkfs.ext4", &["-q", "-F", &image])?;
    run("unshare", &["--mount", "sh", "-ec", "mount -o loop \"$0\" \"$1\"; umount \"$1\"", &image, &at])?;
    Ok(())
}

mod capacity {
    //! Where a loop device ends. There is no safe interface to that, either.

    use std::fs::File;
    use std::io;

    use rustix::ioctl::{Getter, Opcode, Setter, ioctl};

    /// `LOOP_GET_STATUS64` and `LOOP_SET_STATUS64`.
    const GET: Opcode = 0x4C05;
    const SET: Opcode = 0x4C04;

    /// The kernel's `loop_info64`, of which only the limit is changed.
    #[repr(C)]
    struct Status {
        ids: [u64; 3],
        offset: u64,
        limit: u64,
        rest: [u64; 24],
    }

    /// Ends a device after so many bytes; 0 for where its image ends.
    #[allow(unsafe_code, reason = "two requests by their numbers, which fill and read one structure")]
    pub(super) fn limit(device: &File, bytes: u64) -> io::Result<()> {
        // Pages may become dirty while the size changes: then the kernel wants to be asked again.
        for _ in 0..100 {
            // SAFETY: the request fills a `loop_info64`, whose layout and size `Status` has and every value of which is valid.
            let mut status = unsafe { ioctl(device, Getter::<GET, Status>::new()) }?;
            status.limit = bytes;
            // SAFETY: the request reads such a structure, which `Setter` keeps alive for the call.
            match unsafe { ioctl(device, Setter::<SET, Status>::new(status)) } {
                Err(rustix::io::Errno::AGAIN) => std::thread::sleep(std::time::Duration::from_millis(2)),
                other => return other.map_err(io::Error::from),
            }
        }
        Err(io::Error::other("the device is written to all the time"))
    }

    #[cfg(test)]
    mod tests {
        #[test]
        fn the_status_has_the_size_of_the_kernel() {
            assert_eq!(size_of::<super::Status>(), 232);
        }
    }
}

mod shutdown {
    //! The one request to a file system for which there is no safe interface.

    use std::fs::File;

    use rustix::ioctl::{Opcode, Setter, ioctl, opcode};

    /// `EXT4_IOC_SHUTDOWN`, the same number as XFS's.
    const SHUTDOWN: Opcode = opcode::read::<u32>(b'X', 125);
    /// Not even the journal is flushed.
    const NO_LOG_FLUSH: u32 = 2;

    /// Shuts the file system of `root` down as a power cut does.
    #[allow(unsafe_code, reason = "a request by its number; it reads four bytes and returns nothing")]
    pub(super) fn without_flush(root: &File) -> std::io::Result<()> {
        // SAFETY: the request takes a pointer to a `u32`, which `Setter` passes and keeps alive for the call.
        unsafe { ioctl(root, Setter::<SHUTDOWN, u32>::new(NO_LOG_FLUSH)) }?;
        Ok(())
    }

    #[cfg(test)]
    mod tests {
        #[test]
        fn the_request_has_the_number_of_the_kernel() {
            assert_eq!(u64::from(super::SHUTDOWN), 0x8004_587d);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_filled_a_disk_goes_with_the_next_mount_if_it_did_not_go_before() {
        if let Some(why) = missing() {
            return eprintln!("skipped: {why}");
        }
        let dir = tempfile::tempdir().unwrap();
        let mut disk = Disk::new(&dir.path().join("disk")).unwrap();
        let filler = disk.path.join(FILLER);
        // It does not work at the time.
        disk.fill().unwrap();
        rustix::fs::syncfs(File::open(&disk.path).unwrap()).unwrap();
        disk.fail().unwrap();
        disk.free().unwrap();
        disk.repair().unwrap();
        // Mounting what is mounted heals nothing.
        disk.mount().unwrap();
        assert!(!disk.is_whole());
        disk.unmount().unwrap();
        disk.mount().unwrap();
        assert!(disk.is_whole() && !filler.exists());
        // A power cut undoes it.
        disk.fill().unwrap();
        rustix::fs::syncfs(File::open(&disk.path).unwrap()).unwrap();
        disk.free().unwrap();
        disk.cut_power().unwrap();
        disk.unmount().unwrap();
        disk.mount().unwrap();
        assert!(!filler.exists());
        // What is to be full stays full.
        disk.fill().unwrap();
        rustix::fs::syncfs(File::open(&disk.path).unwrap()).unwrap();
        disk.cut_power().unwrap();
        disk.unmount().unwrap();
        disk.mount().unwrap();
        assert!(filler.exists());
        disk.unmount().unwrap();
    }
}
