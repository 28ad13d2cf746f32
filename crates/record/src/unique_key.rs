//! The id a client gives to a message.

use std::net::IpAddr;

/// A unique message id in the form clients use: address, process, class loader, time and counter in uppercase
/// hexadecimal, 32 characters for IPv4 and 56 for IPv6.
///
/// `month_ms` is the number of milliseconds since the month began. Nobody reads the parts; together they must be unique.
pub fn unique_key(ip: IpAddr, process_id: u16, class_loader: u32, month_ms: u32, counter: u16) -> String {
    let address = match ip.to_canonical() {
        IpAddr::V4(ip) => format!("{:08X}", ip.to_bits()),
        IpAddr::V6(ip) => format!("{:032X}", ip.to_bits()),
    };
    format!("{address}{process_id:04X}{class_loader:08X}{month_ms:08X}{counter:04X}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn has_the_form_clients_use() {
        let v4 = unique_key([10, 0, 0, 5].into(), 0x1234, 0xdead_beef, 0x0102_0304, 0xfffe);
        assert_eq!(v4, "0A0000051234DEADBEEF01020304FFFE");
        let v6 = unique_key("fd00::1".parse().unwrap(), 1, 2, 3, 4);
        assert_eq!(v6, "FD0000000000000000000000000000010001000000020000000300".to_owned() + "04");
        assert_eq!(v6.len(), 56);
        assert_eq!(unique_key("::ffff:10.0.0.5".parse().unwrap(), 0x1234, 0xdead_beef, 0x0102_0304, 0xfffe), v4);
    }
}
