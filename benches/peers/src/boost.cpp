// boost::interprocess::message_queue for numbers, as functions that Rust can call. None of them
// throws: they return whether it worked, and `peer_boost_create` tells why not.

#if !__has_include(<boost/interprocess/ipc/message_queue.hpp>)
#error "Boost's headers are not installed (Debian: libboost-dev)"
#else
#include <boost/interprocess/ipc/message_queue.hpp>
#include <boost/version.hpp>
#include <cstdint>
#include <cstdio>
#include <exception>

using boost::interprocess::message_queue;

namespace {

template <typename F> bool worked(F f) noexcept {
    try {
        return f();
    } catch (const std::exception &) {
        return false;
    }
}

bool whole(message_queue::size_type received) { return received == sizeof(std::uint64_t); }

} // namespace

extern "C" {

const char *peer_boost_version() noexcept { return BOOST_LIB_VERSION; }

// Of this many numbers. Its name is gone when this returns: forked children have the mapping.
message_queue *peer_boost_create(const char *name, std::size_t capacity, char *why,
                                 std::size_t why_len) noexcept {
    try {
        auto *queue = new message_queue(boost::interprocess::create_only, name, capacity,
                                        sizeof(std::uint64_t));
        message_queue::remove(name);
        return queue;
    } catch (const std::exception &error) {
        std::snprintf(why, why_len, "%s", error.what());
        return nullptr;
    }
}

void peer_boost_drop(message_queue *queue) noexcept { delete queue; }

bool peer_boost_send(message_queue *queue, std::uint64_t item) noexcept {
    return worked([&] {
        queue->send(&item, sizeof item, 0);
        return true;
    });
}

bool peer_boost_receive(message_queue *queue, std::uint64_t *item) noexcept {
    return worked([&] {
        message_queue::size_type received = 0;
        unsigned priority = 0;
        queue->receive(item, sizeof *item, received, priority);
        return whole(received);
    });
}

// False if there is no room.
bool peer_boost_try_send(message_queue *queue, std::uint64_t item) noexcept {
    return worked([&] { return queue->try_send(&item, sizeof item, 0); });
}

// False if there is nothing.
bool peer_boost_try_receive(message_queue *queue, std::uint64_t *item) noexcept {
    return worked([&] {
        message_queue::size_type received = 0;
        unsigned priority = 0;
        return queue->try_receive(item, sizeof *item, received, priority) && whole(received);
    });
}
}

#endif
