package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// journald is a socket that takes entries as journald does.
func journald(t *testing.T) (*net.UnixConn, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "socket")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c, path
}

// receive reads one entry, from the datagram or from the file that comes with it.
func receive(t *testing.T, c *net.UnixConn) map[string][]string {
	t.Helper()
	data, rights := make([]byte, 1<<20), make([]byte, 128)
	n, m, _, _, err := c.ReadMsgUnix(data, rights)
	if err != nil {
		t.Fatal(err)
	}
	data = data[:n]
	if m > 0 {
		messages, err := unix.ParseSocketControlMessage(rights[:m])
		if err != nil {
			t.Fatal(err)
		}
		fds, err := unix.ParseUnixRights(&messages[0])
		if err != nil || n != 0 {
			t.Fatal(n, err)
		}
		defer unix.Close(fds[0])
		seals, err := unix.FcntlInt(uintptr(fds[0]), unix.F_GET_SEALS, 0)
		if want := unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE | unix.F_SEAL_SEAL; err != nil || seals != want {
			t.Errorf("seals %x, %v: journald refuses it", seals, err)
		}
		if data, err = os.ReadFile(fmt.Sprintf("/proc/self/fd/%d", fds[0])); err != nil {
			t.Fatal(err)
		}
	}
	fields := map[string][]string{}
	for len(data) > 0 {
		line, rest, ok := bytes.Cut(data, []byte{'\n'})
		if !ok {
			t.Fatalf("the entry ends within a line: %q", data)
		}
		name, value, short := strings.Cut(string(line), "=")
		if !short {
			size := binary.LittleEndian.Uint64(rest)
			value, rest = string(rest[8:8+size]), rest[8+size:]
			if rest[0] != '\n' {
				t.Fatalf("no line break after %d bytes of %s", size, name)
			}
			rest = rest[1:]
		}
		fields[name] = append(fields[name], value)
		data = rest
	}
	return fields
}

func TestJournal(t *testing.T) {
	c, path := journald(t)
	var spare bytes.Buffer
	j, err := newJournal(path, slog.LevelInfo, slog.NewTextHandler(&spare, nil))
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(j).With("cluster", "web", "member", "node1")

	log.Debug("not wanted")
	log.Info("node2 is stopped", "event", "default host", "epoch", 7, "by", "")
	want := map[string][]string{
		"MESSAGE": {`node2 is stopped event="default host" epoch=7 by=""`}, "PRIORITY": {"6"}, "SYSLOG_IDENTIFIER": {"nlbd"},
		"NLB_CLUSTER": {"web"}, "NLB_MEMBER": {"node1"}, "NLB_EVENT": {"default host"}, "NLB_EPOCH": {"7"}, "NLB_BY": {""},
	}
	if got := receive(t, c); !reflect.DeepEqual(got, want) {
		t.Errorf("got %q", got)
	}

	log.WithGroup("peer").Error("two\nlines=1", slog.Group("é-x", "a b", "v\n"), "error", fmt.Errorf("broken"))
	got := receive(t, c)
	if m := got["MESSAGE"][0]; !strings.HasPrefix(m, "two\nlines=1 ") || got["PRIORITY"][0] != "3" ||
		got["NLB_PEER___X_A_B"][0] != "v\n" || got["NLB_PEER_ERROR"][0] != "broken" {
		t.Errorf("got %q", got)
	}

	log.Warn("change refused", "who", "mal\x1b[2Jlory", "targets", []string{"node1"}, "age", "\t")
	got = receive(t, c)
	if want := `change refused who="mal\x1b[2Jlory" targets=[node1] age="\t"`; got["MESSAGE"][0] != want || got["NLB_WHO"][0] != "mal\x1b[2Jlory" {
		t.Errorf("got %q", got)
	}

	long := strings.Repeat("x", 4<<20)
	log.Warn(long)
	if got := receive(t, c); got["MESSAGE"][0] != long || got["PRIORITY"][0] != "4" {
		t.Errorf("a long message comes with %d bytes", len(got["MESSAGE"][0]))
	}
	if spare.Len() > 0 {
		t.Errorf("elsewhere: %.200s", spare.String())
	}
}

// TestJournalIsBusyOrGone: the loop logs, so nobody waits for journald.
func TestJournalIsBusyOrGone(t *testing.T) {
	c, path := journald(t)
	var spare bytes.Buffer
	j, err := newJournal(path, slog.LevelInfo, slog.NewTextHandler(&spare, nil))
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(j)
	const sent = 5000 // more than the socket has room for
	begin := time.Now()
	for range sent {
		log.Info("again")
	}
	if took := time.Since(begin); took < patience || took > 5*time.Second {
		t.Errorf("%d lines took %s", sent, took)
	}
	got := 0
	for range 5 {
		receive(t, c)
		got++
	}
	log.Info("after")
	for {
		m := receive(t, c)["MESSAGE"][0]
		if m == "again" {
			got++
			continue
		}
		if want := fmt.Sprintf("after (%d lines before this one were lost: journald is too slow)", sent-got); m != want || got == sent {
			t.Errorf("got %d and then %q, want %q", got, m, want)
		}
		break
	}
	c.Close()
	log.Info("gone", "epoch", 7)
	if !strings.Contains(spare.String(), "level=INFO msg=gone epoch=7\n") {
		t.Errorf("without a journal: %q", spare.String())
	}
}

func TestIsJournal(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "stream"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var stat unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &stat); err != nil {
		t.Fatal(err)
	}
	own := fmt.Sprintf("%d:%d", stat.Dev, stat.Ino)
	if !isJournal(f, own) {
		t.Error("the stream itself is not known")
	}
	if isJournal(f, "") || isJournal(f, own+"1") || isJournal(f, "1:2") || isJournal(f, "x") || isJournal(&bytes.Buffer{}, own) {
		t.Error("another file is taken for the journal")
	}
}

func TestLogFormat(t *testing.T) {
	t.Setenv("JOURNAL_STREAM", "1:2")
	var out bytes.Buffer
	for format, want := range map[string]string{"auto": "level=INFO msg=hello", "text": "level=INFO msg=hello", "json": `"msg":"hello"`} {
		out.Reset()
		log, err := logger(&out, format, false)
		if err != nil {
			t.Fatal(err)
		}
		log.Debug("detail")
		log.Info("hello")
		if !strings.Contains(out.String(), want) || strings.Contains(out.String(), "detail") {
			t.Errorf("%s: %s", format, &out)
		}
	}
	if log, err := logger(&out, "journal", true); err != nil || !log.Enabled(t.Context(), slog.LevelDebug) {
		t.Errorf("journal: %v", err)
	}
	if _, err := logger(&out, "xml", false); err == nil || !strings.Contains(err.Error(), "use auto, text, json or journal") {
		t.Errorf("xml: %v", err)
	}
}
