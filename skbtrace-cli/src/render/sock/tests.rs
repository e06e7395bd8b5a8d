use super::push;
use crate::event::{End, Memory, Owner, Process, Sock, SockName};

fn text(sock: &Sock) -> String {
    let mut out = Vec::new();
    push(sock, &mut out);
    String::from_utf8(out).expect("text")
}

fn end(address: &str, port: u16) -> End {
    End {
        address: address.parse().expect("an address"),
        port,
    }
}

#[test]
fn what_is_known_of_a_socket() {
    let server = Process {
        pid: 412,
        others: 0,
        comm: *b"a server\0\0\0\0\0\0\0\0",
    };
    let bound = Sock {
        name: SockName::Ip {
            local: end("0.0.0.0", 9999),
            remote: None,
        },
        owner: Owner::Process(server),
        memory: Some(Memory {
            used: 1280,
            limit: 212_992,
            backlog: 0,
        }),
    };
    let connected = Sock {
        name: SockName::Ip {
            local: end("fd00::2", 80),
            remote: Some(end("fd00::1", 4000)),
        },
        owner: Owner::Process(Process {
            others: 2,
            ..server
        }),
        ..bound
    };
    let child = Sock {
        name: SockName::Unknown,
        owner: Owner::Nobody,
        memory: None,
    };
    let unix = Sock {
        name: SockName::Family(1),
        owner: Owner::Unknown,
        ..child
    };
    let other = Sock {
        name: SockName::Family(30),
        ..unix
    };
    let lines: Vec<_> = [bound, connected, child, unix, other]
        .iter()
        .map(text)
        .collect();
    insta::assert_snapshot!(lines.join("\n"), @r"
    ,sock=0.0.0.0:9999,pid=412/a\x20server,rcvbuf=1280/212992,backlog=0
    ,sock=[fd00::2]:80->[fd00::1]:4000,pid=412+2/a\x20server,rcvbuf=1280/212992,backlog=0
    ,sock=?,pid=-,rcvbuf=?,backlog=?
    ,sock=unix,pid=?,rcvbuf=?,backlog=?
    ,sock=family30,pid=?,rcvbuf=?,backlog=?
    ");
}
