package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// checklist says what shows each rule of the language that concerns
// interpretation or validation: chunks of internal/lang/testdata as FILE/NAME,
// tests of Go as FOLDER.TEST. The rows of 0.76-0.77 and of 1.20 are counted
// apart. Their letters and numbers name the chunks, too.
var checklist = map[string]map[string]string{
	"classic": {
		"A1 every instruction, by place":              "classic/A1 classic/A1b internal/lang.TestCallTexts",
		"A2 assert and verify judge alike":            "internal/instruction.TestAssertAndVerify internal/recipe.TestAssert",
		"A3 a number is no text":                      "internal/instruction.TestAssertAndVerify internal/recipe.TestAssert",
		"A4 the value is a text":                      "classic/A4",
		"A5 IN and NOT_IN":                            "classic/A5 classic/A5b",
		"A6 texts are ordered as in a dictionary":     "internal/instruction.TestAssertAndVerify internal/recipe.TestAssert",
		"A7 None is a value":                          "classic/A7 classic/A7b",
		"A8 instructions are members of plan":         "classic/A8 page/P6c",
		"B1 what a service is before it runs":         "classic/B1 page/P1",
		"B2 a name twice":                             "classic/B2",
		"B3 an artifact that nobody makes":            "classic/B3",
		"B4 all errors are told":                      "classic/B4 test/e2e.TestAllValidationErrorsAtOnce",
		"B9 what add_services takes":                  "classic/B9 classic/B9b",
		"C1 exec":                                     "classic/C1 page/P4 internal/instruction.TestResults",
		"C3 exec in a service that is not there":      "classic/C3",
		"D3 extractors":                               "classic/D3 page/P9 internal/recipe.TestExtract",
		"D5 a port that is not there":                 "classic/D5",
		"E3 wait gives values":                        "classic/E3 page/P13",
		"F1 templates":                                "classic/F1 page/P8",
		"F2 names are made up":                        "classic/F2",
		"F4 an artifact twice":                        "classic/F4",
		"G1 no subnetworks without the ability":       "classic/G1 internal/plan.TestSubnetworksNeedTheAbility",
		"G17 a subnetwork with itself":                "classic/G17",
		"G18 values of connections":                   "classic/G18 classic/G18b classic/G18c classic/G18d classic/G18e classic/G18f classic/G18g",
		"H5 the forms of run":                         "classic/H5 classic/H5b classic/H5c classic/H5d page/P15",
		"H6 an absolute locator of the own package":   "internal/lang.TestModules",
		"H7 kurtosis.connection beside the variables": "classic/H7",
		"H8 the ninth place of ServiceConfig":         "classic/H8",
		"H10 what run returns":                        "internal/lang.TestOutput internal/run.TestOutputStaysValidJSON",
	},
	"current": {
		"B1 the entry function":             "current/B1 current/B1a current/B1b current/B1c current/B1d current/B1e current/B1f current/B1g classic/H5",
		"B2 parameters":                     "current/B2 current/B2a current/B2b current/B2c internal/source.TestParamsJSON internal/cli.TestToObject",
		"B3 the dialect":                    "current/B3 current/B3a current/B3b current/B3c current/B3d current/B3e current/B3f current/B3g",
		"B4 texts of errors":                "internal/lang.TestLegacyText internal/lang.TestValidationError",
		"B5 None":                           "current/B5 current/B5a",
		"B6 attributes":                     "current/B6",
		"B7 where references are filled in": "current/B7 internal/instruction.TestStepEffectsNameWhatTheyTouch internal/instruction.TestResults",
		"B8 validation":                     "current/B8 current/B8a internal/plan.TestForecastNames internal/plan.TestForecastServices internal/plan.TestForecastArtifacts",
		"B9 types in assertions":            "current/B9 current/B9a current/B9b internal/recipe.TestAssert",
		"B10 extractors":                    "current/B10 internal/recipe.TestExtract",
		"B11 locators":                      "internal/source.TestParseLocator internal/source.TestResolve internal/source.TestNoWayOut internal/lang.TestWhatLocatorsMayName",
		"B12 kurtosis.yml":                  "internal/source.TestManifest internal/source.TestOpenErrors",
		"B13 a plan is run again":           "internal/run.TestReruns internal/run.TestFilesDecideWhatIsDoneAgain internal/instruction.TestImaginedReruns",
		"B14 the plan as YAML":              "test/conformance.TestLanguage",
		"B15 what comes after what (ours is finer, docs/parallel.md)": "internal/plan.TestGraphRules",
		"B16 docker-compose.yml":                "internal/compose.TestConvert internal/compose.TestConvertRefuses",
		"B18 results":                           "internal/instruction.TestResults internal/instruction.TestRequests",
		"B19 long results, order of events":     "internal/run.TestLongResultsAreCut internal/run.TestEventsOfWholeRuns internal/api.TestRunLines",
		"B20 what reaches beyond the container": "current/B20 current/B20a internal/lang.TestPrivileged",
	},
}

// TestChecklist fails if something is said to be shown by a test that is not there.
func TestChecklist(t *testing.T) {
	for dialect, rows := range checklist {
		for row, shown := range rows {
			t.Run(dialect+"/"+row, func(t *testing.T) {
				for _, name := range strings.Fields(shown) {
					if !isTest(t, name) {
						t.Errorf("%s is no test", name)
					}
				}
			})
		}
	}
}

func isTest(t *testing.T, name string) bool {
	t.Helper()
	folder, test, isGo := strings.Cut(name, ".")
	if isGo {
		return testsOf(t, folder)[test]
	}
	file, chunk, _ := strings.Cut(name, "/")
	text, err := os.ReadFile(filepath.Join(root, "internal/lang/testdata", file+".star"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Contains("\n---\n"+string(text), "\n---\n# "+chunk+": ")
}

// testsOf gives the tests of a folder.
func testsOf(t *testing.T, folder string) map[string]bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, folder, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]bool{}
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range file.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && strings.HasPrefix(f.Name.Name, "Test") {
				tests[f.Name.Name] = true
			}
		}
	}
	return tests
}
