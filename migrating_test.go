package opennlb_test

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// cmdlets are all of the module NetworkLoadBalancingClusters of Windows Server 2022.
const cmdlets = `Add-NlbClusterNode Add-NlbClusterNodeDip Add-NlbClusterPortRule Add-NlbClusterVip Disable-NlbClusterPortRule
Enable-NlbClusterPortRule Get-NlbCluster Get-NlbClusterDriverInfo Get-NlbClusterNode Get-NlbClusterNodeDip
Get-NlbClusterNodeNetworkInterface Get-NlbClusterPortRule Get-NlbClusterVip New-NlbCluster New-NlbClusterIpv6Address
Remove-NlbCluster Remove-NlbClusterNode Remove-NlbClusterNodeDip Remove-NlbClusterPortRule Remove-NlbClusterVip
Resume-NlbCluster Resume-NlbClusterNode Set-NlbCluster Set-NlbClusterNode Set-NlbClusterNodeDip Set-NlbClusterPortRule
Set-NlbClusterPortRuleNodeHandlingPriority Set-NlbClusterPortRuleNodeWeight Set-NlbClusterVip Start-NlbCluster
Start-NlbClusterNode Stop-NlbCluster Stop-NlbClusterNode Suspend-NlbCluster Suspend-NlbClusterNode`

// nlbExe are the commands of nlb.exe of Windows Server 2012 and later.
const nlbExe = "help suspend resume start stop drainstop enable disable drain query queryport display params reload ip2mac"

// TestMigrating: docs/MIGRATING.md has a row for every command of Windows NLB, and the
// verbs and flags that it names are there.
func TestMigrating(t *testing.T) {
	text := read(t, "docs/MIGRATING.md")
	all := strings.Fields(cmdlets)
	if len(all) != 35 {
		t.Fatalf("%d cmdlets", len(all))
	}
	for _, c := range all {
		if !regexp.MustCompile("(?m)^\\| `" + c + "` \\| [^|]{8,}").MatchString(text) {
			t.Errorf("there is no row for %s", c)
		}
	}
	for _, c := range strings.Fields(nlbExe) {
		if !regexp.MustCompile("(?m)^\\| `nlb " + c + "[` ][^|]*\\| [^|]*`").MatchString(text) {
			t.Errorf("there is no row for nlb %s", c)
		}
	}

	nlbctl := filepath.Join(t.TempDir(), "nlbctl")
	if out, err := exec.Command("go", "build", "-o", nlbctl, "./cmd/nlbctl").CombinedOutput(); err != nil {
		t.Fatalf("build nlbctl: %v\n%s", err, out)
	}
	help := map[string]string{} // by verb
	for _, use := range regexp.MustCompile("`nlbctl ([a-z][a-z0-9-]*)(?: ([a-z]+)( |`))?([^`]*)").FindAllStringSubmatch(text, -1) {
		verb := strings.TrimSpace(use[1] + " " + use[2])
		if help[verb] == "" {
			out, err := exec.Command(nlbctl, append(strings.Fields(verb), "--help")...).CombinedOutput()
			if err != nil || verb != "help" && !strings.Contains(string(out), "Usage:\n  nlbctl "+verb) {
				t.Errorf("there is no nlbctl %s: %v\n%s", verb, err, out)
			}
			help[verb] = string(out)
		}
		for _, flag := range regexp.MustCompile(`--[a-z-]+`).FindAllString(use[4], -1) {
			if !strings.Contains(help[verb], flag) {
				t.Errorf("nlbctl %s has no %s", verb, flag)
			}
		}
	}
	if len(help) < 12 {
		t.Errorf("found only %d verbs", len(help))
	}
}
