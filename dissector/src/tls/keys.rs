//! When the keys of a connection begin, change, and are waited for.

use protocol::message::Side;

use super::handshake::ServerHello;
use super::keylog::{Growth, KeyLog, Lacking};
use super::opener::Opener;
use super::version::Version;
use super::wait::Wait;
use super::{Connection, Protection, Reason, derive};

impl Connection {
    /// Whether it stands still until its secrets come, and they are not among these.
    pub fn awaits_secrets(&mut self, keys: &mut KeyLog) -> bool {
        if let (Wait::Now, Some(hello)) = (self.wait, self.server) {
            self.find_keys(&hello, keys);
        }
        self.is_waiting()
    }

    /// Whether it stood still when it was last looked at.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.wait == Wait::Now
    }

    /// Goes on without secrets that were waited for.
    pub fn give_up(&mut self) {
        if let (Wait::Now, Some(hello)) = (self.wait, self.server) {
            self.no_keys(&hello, self.reason.unwrap_or(Reason::NoKeys));
        }
    }

    /// The server has chosen: from here on keys are needed.
    pub(super) fn find_keys(&mut self, hello: &ServerHello, keys: &mut KeyLog) {
        match self.prepare(hello, keys) {
            Ok(()) => {
                (self.reason, self.wait) = (None, Wait::Over);
                if let Some(random) = &self.client_random {
                    keys.set_used(random);
                }
            }
            Err(reason @ (Reason::NoKeys | Reason::Missing(_)))
                if keys.growth() != Growth::Never && self.wait != Wait::Over =>
            {
                (self.reason, self.wait) = (Some(reason), Wait::Now);
            }
            Err(reason) => self.no_keys(hello, reason),
        }
    }

    fn no_keys(&mut self, hello: &ServerHello, reason: Reason) {
        (self.reason, self.wait) = (Some(reason), Wait::Over);
        if hello.version == Version::TLS13 {
            for side in [Side::Client, Side::Server] {
                self.seal(side, reason);
            }
        }
    }

    fn prepare(&mut self, hello: &ServerHello, keys: &KeyLog) -> Result<(), Reason> {
        let random = self.client_random.ok_or(Reason::NoHello)?;
        if hello.suite.bulk().is_none()
            || hello.compresses
            || ![Version::TLS12, Version::TLS13].contains(&hello.version)
        {
            return Err(Reason::Unsupported);
        }
        let secrets = keys.find(&random).ok_or(Reason::NoKeys)?;
        if hello.version == Version::TLS13 {
            let traffic = secrets.traffic().map_err(Reason::Missing)?;
            for (direction, [now, later]) in self.sides.iter_mut().zip(traffic) {
                let opener = Opener::tls13(hello.suite, &now).ok_or(Reason::Unsupported)?;
                if !matches!(direction.protection, Protection::Stopped) {
                    direction.protection = Protection::Open(Box::new(opener));
                    (direction.secret, direction.later) = (Some(now), Some(later));
                }
            }
            return Ok(());
        }
        let master = secrets.master.ok_or(Reason::Missing(Lacking::Master))?;
        let ServerHello { suite, random: server, encrypt_then_mac, .. } = hello;
        let openers = Opener::tls12(*suite, &master, &random, server, *encrypt_then_mac)
            .ok_or(Reason::Unsupported)?;
        for (direction, opener) in self.sides.iter_mut().zip(openers) {
            direction.ready = Some(Box::new(opener));
        }
        Ok(())
    }

    /// TLS 1.2: what follows is protected with the new keys.
    pub(super) fn change_cipher(&mut self, from: Side) {
        let other = &self.sides[from.other()].protection;
        let is_followed = !matches!(other, Protection::Stopped);
        let direction = &mut self.sides[from];
        match direction.ready.take() {
            Some(opener) => direction.protection = Protection::Open(opener),
            // After a hello that asks for another one it means nothing (RFC 8446, D.4).
            None if self.server.is_none() && is_followed => {}
            None => self.seal(from, self.reason.unwrap_or(Reason::NoHello)),
        }
    }

    /// TLS 1.3: what follows is protected with the application's keys.
    pub(super) fn finished(&mut self, from: Side) {
        let direction = &mut self.sides[from];
        if let Some(later) = direction.later.take() {
            direction.secret = Some(later);
            self.rekey(from);
        }
    }

    /// TLS 1.3: what follows is protected with the next keys.
    pub(super) fn key_update(&mut self, from: Side) {
        let Some(hello) = self.server else { return };
        let direction = &mut self.sides[from];
        if let Some(secret) = direction.secret {
            direction.secret = derive::updated(hello.suite.derivation(), &secret);
            self.rekey(from);
        }
    }

    pub(super) fn rekey(&mut self, from: Side) {
        let direction = &mut self.sides[from];
        let suite = self.server.map(|hello| hello.suite);
        let opener = suite.zip(direction.secret).and_then(|(suite, s)| Opener::tls13(suite, &s));
        match opener {
            Some(opener) => direction.protection = Protection::Open(Box::new(opener)),
            None => self.seal(from, Reason::Unsupported),
        }
    }

    pub(super) fn seal(&mut self, side: Side, reason: Reason) {
        self.reason = Some(reason);
        let direction = &mut self.sides[side];
        if !matches!(direction.protection, Protection::Stopped) {
            direction.protection = Protection::Sealed;
        }
    }
}
