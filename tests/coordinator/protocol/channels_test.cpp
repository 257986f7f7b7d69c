// The socket and loopback channels: order, sizes, ends; and the watch over processes.
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <string>

#include "coordinator/protocol/loopback_channel.h"
#include "coordinator/protocol/process_watch.h"
#include "coordinator/protocol/socket_channel.h"

namespace ropesweep {
namespace {

/// Polls, waiting for at most ten seconds.
std::optional<Message> next(SocketChannel& channel) {
  for (int i = 0; i < 1000; ++i) {
    if (auto received = channel.poll()) {
      return received->second;
    }
    if (channel.closed()) {
      return std::nullopt;
    }
    channel.wait(0.01);
  }
  return std::nullopt;
}

struct Pair {
  Pair() : Pair(make_socket_pair()) {}
  explicit Pair(std::pair<OwnedDescriptor, OwnedDescriptor> ends)
      : shepherd(std::move(ends.first), 0), runner(std::move(ends.second), 1) {}
  SocketChannel shepherd, runner;
};

TEST(SocketChannel, KeepsOrderAndSender) {
  Pair pair;
  for (int64_t i = 1; i <= 100; ++i) {
    pair.shepherd.send(1, Acknowledge{{"task", i}});
  }
  for (int64_t i = 1; i <= 100; ++i) {
    const auto received = pair.runner.poll();
    ASSERT_TRUE(received);
    EXPECT_EQ(received->first, 0);
    EXPECT_EQ(std::get<Acknowledge>(received->second).attempt.number, i);
  }
  EXPECT_FALSE(pair.runner.poll());
  EXPECT_FALSE(pair.runner.closed());
}

TEST(SocketChannel, CarriesMoreThanASocketHolds) {
  Pair pair;
  const std::string large(size_t{16} << 20, 'x');
  pair.shepherd.send(1, Goodbye{large});
  pair.shepherd.send(1, Goodbye{"small"});
  EXPECT_TRUE(pair.shepherd.wants_write());
  std::optional<std::pair<int, Message>> received;
  for (int i = 0; i < 10000 && !received; ++i) {
    pair.shepherd.flush();
    received = pair.runner.poll();
  }
  ASSERT_TRUE(received);
  EXPECT_EQ(std::get<Goodbye>(received->second).reason, large);
  pair.shepherd.flush();
  EXPECT_EQ(std::get<Goodbye>(*next(pair.runner)).reason, "small");
  EXPECT_FALSE(pair.shepherd.wants_write());
}

TEST(SocketChannel, LastWordsAreHeardBeforeTheEnd) {
  auto [ours, theirs] = make_socket_pair();
  SocketChannel shepherd(std::move(ours), 0);
  {
    SocketChannel runner(std::move(theirs), 1);
    runner.send(0, Goodbye{"last"});
  }
  EXPECT_FALSE(shepherd.closed());
  EXPECT_EQ(std::get<Goodbye>(*next(shepherd)).reason, "last");
  EXPECT_FALSE(next(shepherd));
  EXPECT_TRUE(shepherd.closed());
  shepherd.send(1, Stop{});  // Nobody is there: no signal, no exception.
}

TEST(SocketChannel, AnAbsurdLengthIsRefused) {
  auto [ours, theirs] = make_socket_pair();
  const std::string garbage = "\xff\xff\xff\xff and more";
  ASSERT_EQ(::send(theirs.get(), garbage.data(), garbage.size(), 0),
            static_cast<ssize_t>(garbage.size()));
  SocketChannel shepherd(std::move(ours), 0);
  EXPECT_THROW(shepherd.poll(), Error);
}

TEST(LoopbackNetwork, ADisconnectedRankHearsAndSaysNothing) {
  LoopbackNetwork network(3);
  network.channel(1).send(0, RequestWork{"a"});
  network.disconnect(2);
  network.channel(2).send(0, RequestWork{"b"});
  network.channel(0).send(2, Stop{});
  EXPECT_EQ(network.in_flight(), 1U);
  const auto received = network.channel(0).poll();
  ASSERT_TRUE(received);
  EXPECT_EQ(received->first, 1);
  EXPECT_FALSE(network.channel(0).poll());
  network.reconnect(2);
  network.channel(0).send(2, Stop{});
  EXPECT_TRUE(network.channel(2).poll());
}

TEST(ProcessWatch, SeesAnEndAndNotBefore) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::pause();
    _exit(0);
  }
  const ProcessWatch watch(child);
  EXPECT_FALSE(watch.gone());
  ::kill(child, SIGKILL);
  watch.wait(10);
  EXPECT_TRUE(watch.gone());
  ::waitpid(child, nullptr, 0);
  EXPECT_TRUE(ProcessWatch(child).gone());
}

TEST(ProcessWatch, ExitWhenGoneEndsThisProcess) {
  const pid_t watched = ::fork();
  if (watched == 0) {
    ::pause();
    _exit(0);
  }
  const pid_t watcher = ::fork();
  if (watcher == 0) {
    exit_when_gone(watched, 42);
    ::sleep(30);
    _exit(0);
  }
  ::kill(watched, SIGKILL);
  ::waitpid(watched, nullptr, 0);
  int status = 0;
  ::waitpid(watcher, &status, 0);
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 42);
}

}  // namespace
}  // namespace ropesweep
