// The tests of the reference plugin call its functions. These run the plugin under test instead, as a
// runtime does: in the network namespace that the test is in, with what it was given.
package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/plugins/pkg/ns"
)

// NetConf has what the tests set of the reference plugin's.
type NetConf struct {
	types.NetConf
	Master     string
	Mode       string
	MTU        int
	LinkContNs bool
}

func main() {}

func cmdAdd(args *skel.CmdArgs) error {
	answer, err := call("ADD", args)
	if err != nil {
		return err
	}
	_, err = os.Stdout.Write(answer)
	return err
}

func cmdCheck(args *skel.CmdArgs) error {
	_, err := call("CHECK", args)
	return err
}

func cmdDel(args *skel.CmdArgs) error {
	_, err := call("DEL", args)
	return err
}

func cmdStatus(args *skel.CmdArgs) error {
	_, err := call("STATUS", args)
	return err
}

func createMacvlan(conf *NetConf, ifName string, netns ns.NetNS) (*NetConf, error) {
	// Keys as Go's own names have them: JSON of Go is read in any case.
	config, err := json.Marshal(map[string]any{
		"CNIVersion": conf.CNIVersion, "Name": conf.Name, "Type": conf.Type, "Master": conf.Master,
		"Mode": conf.Mode, "MTU": conf.MTU, "LinkInContainer": conf.LinkContNs,
	})
	if err != nil {
		return nil, err
	}
	_, err = call("ADD", &skel.CmdArgs{
		ContainerID: "test", Netns: netns.Path(), IfName: ifName, StdinData: config,
	})
	return conf, err
}

func call(verb string, args *skel.CmdArgs) ([]byte, error) {
	plugin := exec.Command(os.Getenv("PLUGIN_UNDER_TEST"))
	plugin.Env = append(os.Environ(),
		"CNI_COMMAND="+verb,
		"CNI_CONTAINERID="+args.ContainerID,
		"CNI_NETNS="+args.Netns,
		"CNI_IFNAME="+args.IfName,
		"CNI_ARGS="+args.Args,
		"CNI_PATH="+os.Getenv("PATH"))
	plugin.Stdin = bytes.NewReader(args.StdinData)
	plugin.Stderr = os.Stderr
	answer, err := plugin.Output()
	if err == nil {
		return answer, nil
	}
	told := &types.Error{}
	if json.Unmarshal(answer, told) != nil || told.Msg == "" {
		return nil, err
	}
	return nil, told
}
