//! iceoryx2's publish-subscribe: samples lent, written in place and sent. Overflow is off, and the sender
//! sends again each sample that a full buffer refused, so that nothing is lost. iceoryx2's own way to wait
//! for room, `BackpressureStrategy::RetryUntilDelivered`, is no faster.

use crate::sides::{Measure, Pause, Setup, between_processes, segment_name};
use iceoryx2::prelude::*;
use iceoryx2::service::port_factory::publish_subscribe::PortFactory as PublishSubscribe;
use std::path::PathBuf;
use std::{env, fs};

/// The meeting place of the two sides. Its files are in a directory of our own, or have names of our own.
struct Meeting {
    config: Config,
    root: PathBuf,
    prefix: String,
    capacity: usize,
}

impl Meeting {
    fn new(capacity: usize) -> Result<Self, String> {
        let said = |error: SemanticStringError| format!("{error:?}");
        let prefix = format!("{}-", segment_name("iceoryx2"));
        let root = env::temp_dir().join(&prefix);
        let mut config = Config::default();
        config.global.prefix = FileName::new(prefix.as_bytes()).map_err(said)?;
        let path = Path::new(root.as_os_str().as_encoded_bytes()).map_err(said)?;
        config.global.set_root_path(&path);
        set_log_level(LogLevel::Error);
        Ok(Self {
            config,
            root,
            prefix,
            capacity,
        })
    }

    /// Opens the service in one side's process: the sides share nothing but the names.
    fn service(&self) -> (Node<ipc::Service>, PublishSubscribe<ipc::Service, u64, ()>) {
        let node = NodeBuilder::new().config(&self.config);
        let node = node.create::<ipc::Service>().expect("a node");
        let name = "numbers".try_into().expect("a service's name");
        let service = node
            .service_builder(&name)
            .publish_subscribe::<u64>()
            .enable_safe_overflow(false)
            .history_size(0)
            .subscriber_max_buffer_size(self.capacity)
            .subscriber_max_borrowed_samples(1)
            .max_publishers(1)
            .max_subscribers(1)
            .open_or_create()
            .expect("a service");
        (node, service)
    }

    fn sender(&self, pause: Pause) -> impl FnMut(u64) {
        let (node, service) = self.service();
        let publisher = service
            .publisher_builder()
            .max_loaned_samples(1)
            .backpressure_strategy(BackpressureStrategy::DiscardData)
            .create()
            .expect("a publisher");
        move |item| {
            let _alive = (&node, &service);
            pause.until(|| {
                let sample = publisher.loan_uninit().expect("a sample");
                let receivers = sample.write_payload(item).send().expect("send");
                (receivers == 1).then_some(())
            });
        }
    }

    fn receiver(&self, pause: Pause) -> impl FnMut() -> u64 {
        let (node, service) = self.service();
        let subscriber = service.subscriber_builder().buffer_size(self.capacity);
        let subscriber = subscriber.create().expect("a subscriber");
        move || {
            let _alive = (&node, &service);
            pause.until(|| subscriber.receive().expect("receive").map(|sample| *sample))
        }
    }
}

impl Drop for Meeting {
    /// Nothing is left, unless a side was killed.
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
        for entry in fs::read_dir("/dev/shm").into_iter().flatten().flatten() {
            let name = entry.file_name();
            if name.to_string_lossy().starts_with(&self.prefix) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

pub(crate) fn publish_subscribe(setup: Setup, pause: Pause) -> Result<Measure, String> {
    let meeting = Meeting::new(setup.capacity)?;
    Ok(Box::new(move |items| {
        between_processes(
            setup,
            items,
            || meeting.sender(pause),
            || meeting.receiver(pause),
        )
    }))
}
