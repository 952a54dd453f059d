# SPDX-License-Identifier: Apache-2.0
add_library(server_rig STATIC ${CMAKE_CURRENT_LIST_DIR}/server_rig.c)
target_link_libraries(server_rig PUBLIC dmrpc_server PkgConfig::CMOCKA)

# Programs in which memory can run out, and is looked at when it is freed.
add_library(server_memory STATIC ${CMAKE_CURRENT_LIST_DIR}/server_memory.c)
target_link_options(server_memory INTERFACE
    -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc,--wrap=reallocarray,--wrap=free)

foreach(module access budget)
    if(EXISTS ${CMAKE_CURRENT_LIST_DIR}/test_server_${module}.c)
    dmrpc_unit_test(server_${module} dmrpc_server)
    endif()
endforeach()
foreach(module scan text decode encode failure order call waits hangup listener options)
    if(EXISTS ${CMAKE_CURRENT_LIST_DIR}/test_server_${module}.c)
    dmrpc_unit_test(server_${module} server_rig)
    endif()
endforeach()
foreach(module arena out envelope dispatch rpc conn)
    if(EXISTS ${CMAKE_CURRENT_LIST_DIR}/test_server_${module}.c)
    dmrpc_unit_test(server_${module} server_rig server_memory)
    endif()
endforeach()
dmrpc_unit_test(server_workers server_rig -Wl,--wrap=pthread_create,--wrap=clock_gettime)
